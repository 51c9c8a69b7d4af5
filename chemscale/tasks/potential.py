"""An interatomic potential as a Lightning module: its loss, averaged weights, metrics in meV."""

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
from chemscale.tasks.losses import EnergyForceLoss, Errors, error_of
from chemscale.tasks.optimisation import AdamW, Plateau, Schedule

TERMS = ("energy", "forces", "stress")
"""Terms of the loss, in the order of their sums."""


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

    def errors(self, model: Potential, batch: Data, *, stress: bool | None = None) -> Errors:
        """Errors of a batch; those of stresses where the batch has any and they are wanted.

        Args:
            model: that predicts.
            batch: with its labels.
            stress: whether stresses are wanted; None where the loss weighs them.
        """
        wanted = self.loss.stress > 0 if stress is None else stress
        wanted = wanted and batch.get("stress") is not None
        return self._errors_of(model(batch, forces=self.loss.forces > 0, stress=wanted), batch)

    @staticmethod
    def _errors_of(prediction: Prediction, batch: Data) -> Errors:
        stress = batch.get("stress")
        return Errors(
            energy=error_of(prediction.energy, batch.energy),
            forces=None if prediction.forces is None else error_of(prediction.forces, batch.forces),
            stress=None
            if prediction.stress is None or stress is None
            else error_of(prediction.stress, stress),
            atoms=(batch.ptr[1:] - batch.ptr[:-1]).to(torch.float64),
            batch=batch.batch,
            weights=batch.get("weight"),
        )

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
        sums = self.loss.sums(errors)
        row = [_detached(sums.energy), _detached(sums.forces)]
        counts: list[Tensor | float] = [batch.energy.isfinite().sum(), batch.forces.isfinite().sum()]
        energy = sums.energy / max(1, batch.step_energies)
        forces = sums.forces / max(1, batch.step_components)
        total = self.loss.energy * energy + self.loss.forces * forces
        if self.loss.stress > 0:
            row.append(_detached(sums.stress))
            counts.append(0.0 if errors.stress is None else batch.stress.isfinite().sum())
            total = total + self.loss.stress * (sums.stress / max(1, batch.step_stresses))
        self.step_sums.append((*row, *counts))
        return share * total

    def training_metrics(self, sums: list[float]) -> dict[str, float]:
        """The logged loss from the sums of ``step_sums``, and its parts that there are labels for."""
        terms = len(sums) // 2
        parts = {
            name: (total, count)
            for name, total, count in zip(TERMS[:terms], sums[:terms], sums[terms:], strict=True)
            if count
        }
        weighed = {name: getattr(self.loss, name) * total / count for name, (total, count) in parts.items()}
        names = {"energy": "energy_loss", "forces": "force_loss", "stress": "stress_loss"}
        return {
            "loss": self.loss.weighted(*(weighed.get(name) for name in TERMS)),
            **{names[name]: total / count for name, (total, count) in parts.items()},
        }

    def stepped(self) -> None:
        if self.average is not None:
            self.average.update(self.model)

    # --- validation ---

    def validation_step(self, batch: Data, batch_idx: int) -> dict[str, Any]:
        """Sums over the batch, of the averaged weights' errors; every frame weighs the same."""
        model = self.best_model
        with torch.enable_grad():
            errors = self.errors(model.eval(), batch, stress=True).detach().unweighted()
        energy = errors.energy
        per_atom = energy / errors.atoms
        objective = self.loss.sums(errors)
        sums: dict[str, Any] = {
            "energy_objective": objective.energy,
            "force_objective": objective.forces,
            "energies": batch.energy.isfinite().sum(),
            "energy_absolute": energy.abs().sum(),
            "energy_square": energy.square().sum(),
            "per_atom_absolute": per_atom.abs().sum(),
            "per_atom_square": per_atom.square().sum(),
            # Of every batch, whether it has crystals or not: ranks add up the same numbers.
            **dict.fromkeys(("stress_objective", "stresses", "stress_absolute", "stress_square"), 0.0),
        }
        if errors.forces is not None:
            sums |= {
                "components": batch.forces.isfinite().sum(),
                "force_absolute": errors.forces.abs().sum(),
                "force_square": errors.forces.square().sum(),
            }
        if errors.stress is not None:
            sums |= {
                "stress_objective": objective.stress,
                "stresses": batch.stress.isfinite().sum(),
                "stress_absolute": errors.stress.abs().sum(),
                "stress_square": errors.stress.square().sum(),
            }
        return sums

    def validation_metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """MAE and RMSE: energies in meV and meV/atom, force components in meV/Å, stress components in meV/Å³.

        And the training objective. What the set has no label for is left out; without any label that the loss
        weighs the objective is NaN.
        """
        energies, components, stresses = sums["energies"], sums.get("components", 0.0), sums["stresses"]
        metrics = {
            "objective": self.loss.weighted(
                self.loss.energy * sums["energy_objective"] / energies if energies else None,
                self.loss.forces * sums["force_objective"] / components if components else None,
                self.loss.stress * sums["stress_objective"] / stresses if stresses else None,
            )
        }
        if energies:
            metrics |= {
                "energy_mae": 1e3 * sums["energy_absolute"] / energies,
                "energy_rmse": 1e3 * math.sqrt(sums["energy_square"] / energies),
                "energy_mae_per_atom": 1e3 * sums["per_atom_absolute"] / energies,
                "energy_rmse_per_atom": 1e3 * math.sqrt(sums["per_atom_square"] / energies),
            }
        for name, count in (("force", components), ("stress", stresses)):
            if count:
                plural = "forces" if name == "force" else name
                metrics |= {
                    f"{plural}_mae": 1e3 * sums[f"{name}_absolute"] / count,
                    f"{plural}_rmse": 1e3 * math.sqrt(sums[f"{name}_square"] / count),
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


def _detached(value: Tensor | float) -> Tensor | float:
    return value.detach() if isinstance(value, Tensor) else value
