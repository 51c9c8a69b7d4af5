"""A training of nequip by its own command, ``nequip-train``: errors of its averaged weights through the run.

Runs in the folder where it is started and leaves ``result.json`` there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import ase
import ase.io
import torch
import yaml
from snapshots import Snapshots, arguments, errors, write


def configuration(work: dict[str, Any]) -> dict[str, Any]:
    """The input file of ``nequip-train``.

    Args:
        work: ``model``, our hyper-parameters; ``recipe``; ``files`` of train, validation and test;
            ``elements``; ``steps``; ``seed``.
    """
    shape, recipe, files = work["model"], work["recipe"], work["files"]
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": recipe["batch"]}
    metrics = {
        "_target_": "nequip.train.EnergyForceMetrics",
        "coeffs": {"total_energy_mae": recipe["energy"], "forces_mae": recipe["forces"]},
    }
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "seed": work["seed"],
            "train_file_path": files["train"],
            "val_file_path": files["validation"],
            "transforms": [
                {
                    "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
                    "model_type_names": work["elements"],
                },
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": shape["cutoff"]},
            ],
            "train_dataloader": {**loader, "shuffle": True},
            "val_dataloader": {**loader, "batch_size": 50},
            "stats_manager": {
                "_target_": "nequip.data.CommonDataStatisticsManager",
                "type_names": work["elements"],
                "dataloader_kwargs": {"batch_size": 50},
            },
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu",
            "max_steps": work["steps"],
            "num_sanity_val_steps": 0,
            "enable_progress_bar": False,
            "enable_checkpointing": False,
            "gradient_clip_val": recipe["clip"],
            "logger": False,
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": recipe["ema"],
            "loss": {
                "_target_": "nequip.train.EnergyForceLoss",
                "per_atom_energy": recipe["per_atom"],
                "coeffs": {"total_energy": recipe["energy"], "forces": recipe["forces"]},
            },
            "val_metrics": metrics,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": recipe["lr"], "amsgrad": True},
            "lr_scheduler": {
                "scheduler": {
                    "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
                    "factor": recipe["factor"],
                    "patience": recipe["patience"],
                },
                "monitor": "val0_epoch/weighted_sum",
                "interval": "epoch",
                "frequency": 1,
            },
            "model": {
                "_target_": "nequip.model.NequIPGNNModel",
                "seed": work["seed"],
                "model_dtype": "float32",
                "compile_mode": "eager",
                "type_names": work["elements"],
                "r_max": shape["cutoff"],
                "num_layers": shape["layers"],
                "l_max": shape["l_max"],
                "parity": shape["parity"],
                "num_features": shape["width"],
                "radial_mlp_depth": shape["radial_layers"],
                "radial_mlp_width": shape["radial_width"],
                "num_bessels": shape["radial"],
                "bessel_trainable": True,
                "polynomial_cutoff_p": shape["cutoff_power"],
                "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
                "per_type_energy_shifts": "${training_data_stats:per_atom_energy_mean}",
                "per_type_energy_scales": "${training_data_stats:forces_rms}",
                **work.get("more", {}),
            },
        },
    }


def predictions(
    model: torch.nn.Module, frames: list[ase.Atoms], work: dict[str, Any]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Energies and forces of frames, batch by batch.

    Args:
        model: of nequip.
        frames: of the test file.
        work: of the worker.
    """
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform

    transforms = [
        ChemicalSpeciesToAtomTypeMapper(work["elements"]),
        NeighborListTransform(work["model"]["cutoff"]),
    ]
    found = []
    for start in range(0, len(frames), 50):
        rows = [from_ase(frame) for frame in frames[start : start + 50]]
        for transform in transforms:
            rows = [transform(row) for row in rows]
        out = model(AtomicDataDict.batched_from_list(rows))
        energy, forces = out[AtomicDataDict.TOTAL_ENERGY_KEY], out[AtomicDataDict.FORCE_KEY]
        found.append((energy.detach().flatten(), forces.detach()))
    return found


def main() -> None:
    work = arguments(__doc__ or "")
    Path("input.yaml").write_text(yaml.safe_dump(configuration(work)))
    from nequip.scripts import train
    from nequip.train import EMALightningModule
    from nequip.train.ema import EMAWeights

    snapshots = Snapshots(work["steps"])
    modules: list[EMALightningModule] = []
    update, start = EMAWeights.update_parameters, EMALightningModule.on_fit_start

    def counted(self: EMAWeights, model: torch.nn.Module) -> None:
        update(self, model)
        if modules:
            snapshots.stepped(self.ema_weights)

    def started(self: EMALightningModule) -> None:
        modules.append(self)
        start(self)

    EMAWeights.update_parameters, EMALightningModule.on_fit_start = counted, started
    sys.argv = [
        "nequip-train",
        "-cp",
        os.getcwd(),
        "-cn",
        "input",
        "hydra.run.dir=.",
        "hydra.output_subdir=null",
    ]
    train.main()
    frames: Any = ase.io.read(work["files"]["test"], ":")
    (model,) = modules[0].model.values()
    found = []
    for _, _, weights in snapshots.taken:
        with torch.no_grad():
            for parameter, weight in zip(model.parameters(), weights, strict=True):
                parameter.copy_(weight)
        found.append(errors(predictions(model.eval(), frames, work), frames))
    write("nequip", snapshots, found)


if __name__ == "__main__":
    main()
