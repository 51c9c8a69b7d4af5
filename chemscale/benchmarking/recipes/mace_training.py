"""A training of MACE by its own command, ``mace_run_train``: errors of its averaged weights through the run.

Runs in the folder where it is started and leaves ``result.json`` there.
"""

from __future__ import annotations

import importlib
from typing import Any

import ase
import ase.io
import torch
from snapshots import ENERGY, FORCES, Snapshots, arguments, errors, write

torch.serialization.add_safe_globals([slice])  # in a file that e3nn 0.4.4 loads when imported


def command_line(work: dict[str, Any]) -> list[str]:
    """Arguments of ``mace_run_train``.

    Args:
        work: ``model``, our hyper-parameters; ``recipe``; ``files`` of train, validation and test;
            ``steps`` and ``steps_of_epoch``; ``seed``.
    """
    shape, recipe, files = work["model"], work["recipe"], work["files"]
    values = {
        "name": "mace",
        "seed": work["seed"],
        "train_file": files["train"],
        "valid_file": files["validation"],
        "energy_key": ENERGY,
        "forces_key": FORCES,
        "E0s": "average",
        "model": "MACE",
        "interaction_first": "RealAgnosticInteractionBlock",
        "interaction": "RealAgnosticResidualInteractionBlock",
        "r_max": shape["cutoff"],
        "num_radial_basis": shape["radial"],
        "num_cutoff_basis": shape["cutoff_power"],
        "radial_MLP": str([shape["radial_width"]] * shape["radial_layers"]),
        "max_ell": shape["l_max"],
        "num_interactions": shape["layers"],
        "num_channels": shape["width"],
        "max_L": shape["hidden_l_max"],
        "correlation": shape["correlation"],
        "scaling": "rms_forces_scaling",
        "loss": "weighted",
        "energy_weight": recipe["energy"],
        "forces_weight": recipe["forces"],
        "batch_size": recipe["batch"],
        "valid_batch_size": 50,
        "lr": recipe["lr"],
        "clip_grad": recipe["clip"],
        "ema_decay": recipe["ema"],
        "lr_factor": recipe["factor"],
        "scheduler_patience": recipe["patience"],
        "max_num_epochs": -(-work["steps"] // work["steps_of_epoch"]),
        "default_dtype": "float32",
        "error_table": "TotalMAE",
        "plot": "False",
        "skip_evaluate_heads": "Default",  # its own table of errors at the end
        "device": "cpu",
        **work.get("more", {}),
    }
    flags = ["--ema", "--amsgrad"]
    return [f"--{key}={value}" for key, value in values.items()] + flags


def predictions(
    model: torch.nn.Module, frames: list[ase.Atoms], cutoff: float
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Energies and forces of frames, batch by batch.

    Args:
        model: of MACE.
        frames: of the test file.
        cutoff: Å.
    """
    from mace import data, tools
    from mace.tools import torch_geometric

    keys = data.KeySpecification(info_keys={"energy": ENERGY}, arrays_keys={"forces": FORCES})
    numbers: Any = model.atomic_numbers
    table = tools.AtomicNumberTable([int(z) for z in numbers])
    graphs = [
        data.AtomicData.from_config(data.config_from_atoms(frame, keys), z_table=table, cutoff=cutoff)
        for frame in frames
    ]
    loader = torch_geometric.dataloader.DataLoader(graphs, batch_size=50, shuffle=False)
    out = [model(batch.to_dict(), training=False) for batch in loader]
    return [(found["energy"].detach(), found["forces"].detach()) for found in out]


def main() -> None:
    work = arguments(__doc__ or "")
    from mace import tools
    from mace.cli import run_train

    train: Any = importlib.import_module("mace.tools.train")  # mace.tools has a function of this name
    snapshots = Snapshots(work["steps"])
    step = train.take_step
    trained: list[tuple[torch.nn.Module, list[torch.nn.Parameter]]] = []

    def counted(model: torch.nn.Module, *args: Any, ema: Any, **kwargs: Any) -> Any:
        if not trained:
            trained.append((model, list(model.parameters())))
        found = step(model, *args, ema=ema, **kwargs)
        snapshots.stepped(ema.shadow_params)
        return found

    train.take_step = counted
    run_train.run(tools.build_default_arg_parser().parse_args(command_line(work)))
    frames: Any = ase.io.read(work["files"]["test"], ":")
    ((model, moving),) = trained
    found = []
    for _, _, weights in snapshots.taken:
        with torch.no_grad():
            for parameter, weight in zip(moving, weights, strict=True):
                parameter.copy_(weight)
        found.append(errors(predictions(model.eval(), frames, float(work["model"]["cutoff"])), frames))
    write("mace-torch", snapshots, found)


if __name__ == "__main__":
    main()
