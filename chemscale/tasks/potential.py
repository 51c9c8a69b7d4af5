"""An interatomic potential as a Lightning module: energies and forces, averaged weights, metrics in meV."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch_geometric.data import Data

from chemscale.models.potential import Potential, Prediction
from chemscale.tasks.averaging import WeightAverage
from chemscale.tasks.base import Task
from chemscale.tasks.losses import EnergyForceLoss, error_of
from chemscale.tasks.optimisation import AdamW, Plateau, Schedule


class InteratomicPotential(Task):
    """Loss, validation metrics and optimiser of a potential.

    Args:
        model: the potential.
        loss: what is minimised.
        optimizer: how weights move.
        schedule: how the rate moves; a ``Plateau`` follows the validation objective.
        total_steps: optimiser steps of the run.
        ema: decay per step of an average of the weights, which is what is validated and kept; None for none.
    """

    def __init__(
        self,
        model: Potential,
        loss: EnergyForceLoss,
        optimizer: AdamW,
        schedule: Schedule | Plateau,
        total_steps: int,
        ema: float | None = None,
    ):
        super().__init__()
        if ema is not None and not 0 < ema < 1:
            raise ValueError(f"ema={ema}: must lie between 0 and 1, or be null.")
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.schedule, self.total_steps = schedule, total_steps
        self.average = None if ema is None else WeightAverage(model, ema)
        self.plateau: ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None

    @property
    def best_model(self) -> Potential:
        """The averaged weights if there are any."""
        return self.model if self.average is None else self.average.module  # type: ignore[return-value]

    # --- training ---

    def errors(self, model: Potential, batch: Data) -> tuple[Tensor, Tensor | None, Tensor]:
        """(B,) energy errors in eV, (N, 3) force errors in eV/Å (None if no force is wanted), (B,) atoms.

        Errors are 0 where there is no label.
        """
        return self._errors_of(model(batch, forces=self.loss.forces > 0), batch)

    @staticmethod
    def _errors_of(prediction: Prediction, batch: Data) -> tuple[Tensor, Tensor | None, Tensor]:
        atoms = (batch.ptr[1:] - batch.ptr[:-1]).to(torch.float64)
        force_error = None if prediction.forces is None else error_of(prediction.forces, batch.forces)
        return error_of(prediction.energy, batch.energy), force_error, atoms

    def training_step(self, batch: Data, batch_idx: int) -> Tensor:
        """The loss over the labels of the whole optimiser step.

        Lightning averages over micro-batches and ranks, which hold unequal numbers of labels: dividing by the
        step's own counts and multiplying back makes every label weigh the same.
        """
        share = self.trainer.accumulate_grad_batches * self.trainer.world_size
        errors = (
            self.errors(self.model, batch)
            if self.compiled is None
            else self._errors_of(self.compiled(batch), batch)
        )
        of_energy, of_forces = self.loss.sums(*errors)
        counts = (batch.energy.isfinite().sum(), batch.forces.isfinite().sum())
        self.step_sums.append((of_energy.detach(), of_forces.detach(), *counts))
        energy = of_energy / max(1, batch.step_energies)
        forces = of_forces / max(1, batch.step_components)
        return share * (self.loss.energy * energy + self.loss.forces * forces)

    def training_metrics(self, sums: list[float]) -> dict[str, float]:
        """The logged loss from the sums of ``step_sums``, and its parts that there are labels for."""
        energy, forces, energies, components = sums
        parts = {"energy_loss": (energy, energies), "force_loss": (forces, components)}
        return {
            "loss": self.loss.weighted(
                self.loss.energy * (energy / energies) if energies else None,
                self.loss.forces * (forces / components) if components else None,
            ),
            **{name: total / count for name, (total, count) in parts.items() if count},
        }

    def stepped(self) -> None:
        if self.average is not None:
            self.average.update(self.model)

    # --- validation ---

    def validation_step(self, batch: Data, batch_idx: int) -> dict[str, Any]:
        """Sums over the batch, of the averaged weights' errors."""
        model = self.best_model
        with torch.enable_grad():
            energy_error, force_error, atoms = self.errors(model.eval(), batch)
        energy = energy_error.detach()
        per_atom = energy / atoms
        of_energy, of_forces = self.loss.sums(energy, force_error, atoms)
        sums = {
            "energy_objective": of_energy,
            "force_objective": of_forces,
            "energies": batch.energy.isfinite().sum(),
            "energy_absolute": energy.abs().sum(),
            "energy_square": energy.square().sum(),
            "per_atom_absolute": per_atom.abs().sum(),
            "per_atom_square": per_atom.square().sum(),
        }
        if force_error is not None:
            forces = force_error.detach()
            sums |= {
                "components": batch.forces.isfinite().sum(),
                "force_absolute": forces.abs().sum(),
                "force_square": forces.square().sum(),
            }
        return sums

    def validation_metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """MAE and RMSE: energies in meV and meV/atom, force components in meV/Å; the training objective.

        What the set has no label for is left out; without any label the objective is NaN.
        """
        energies, components = sums["energies"], sums.get("components", 0.0)
        metrics = {
            "objective": self.loss.weighted(
                self.loss.energy * sums["energy_objective"] / energies if energies else None,
                self.loss.forces * sums["force_objective"] / components if components else None,
            )
        }
        if energies:
            metrics |= {
                "energy_mae": 1e3 * sums["energy_absolute"] / energies,
                "energy_rmse": 1e3 * math.sqrt(sums["energy_square"] / energies),
                "energy_mae_per_atom": 1e3 * sums["per_atom_absolute"] / energies,
                "energy_rmse_per_atom": 1e3 * math.sqrt(sums["per_atom_square"] / energies),
            }
        if components:
            metrics |= {
                "forces_mae": 1e3 * sums["force_absolute"] / components,
                "forces_rmse": 1e3 * math.sqrt(sums["force_square"] / components),
            }
        return metrics

    def validated(self, objective: float) -> bool:
        """Let a ``Plateau`` follow the validation objective; whether the run should end here."""
        if self.plateau is None:
            return False
        self.plateau.step(objective)
        assert isinstance(self.schedule, Plateau)
        return self.plateau.optimizer.param_groups[0]["lr"] < self.schedule.stop_below

    # --- optimiser ---

    def configure_optimizers(self) -> Any:
        scaled = self._trainer is not None and self.trainer.precision == "16-mixed"
        optimizer = self.optimizer.build(self.model, fused=not scaled)
        if isinstance(self.schedule, Plateau):
            self.plateau = self.schedule.build(optimizer)
            if self._plateau_state is not None:
                self.plateau.load_state_dict(self._plateau_state)
            return optimizer
        scheduler = LambdaLR(optimizer, self.schedule.factor(self.total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Called before the optimiser is made: kept until it is.
        self._plateau_state = checkpoint.get("plateau")
        if self.plateau is not None and self._plateau_state is not None:
            self.plateau.load_state_dict(self._plateau_state)
