"""MACE in turns: as its training does (e3nn's scripted tensor products), or through its ``tools.compile``.

The package compiles for its calculators only; its training has cuEquivariance and OpenEquivariance, on GPUs.
"""

from __future__ import annotations

from typing import Any

import ase
import numpy as np
import torch
from forces import CUTOFF, Model, fresh, run, to_device

torch.serialization.add_safe_globals([slice])  # in a file that e3nn 0.4.4 loads when imported

BLOCKS = {
    "interaction_cls_first": "RealAgnosticInteractionBlock",
    "interaction_cls": "RealAgnosticResidualInteractionBlock",
}


def keys_of(shape: dict[str, Any]) -> dict[str, Any]:
    """Our hyper-parameters as the package calls them."""
    hidden = "+".join(
        f"{shape['width']}x{degree}{'eo'[degree % 2]}" for degree in range(shape["hidden_l_max"] + 1)
    )
    return {
        "r_max": CUTOFF,
        "num_bessel": 8,
        "num_polynomial_cutoff": 5,
        "max_ell": shape["l_max"],
        "num_interactions": shape["layers"],
        "hidden_irreps": hidden,
        "MLP_irreps": "16x0e",
        "correlation": 3,
        "radial_MLP": [64, 64, 64],
        "use_reduced_cg": False,
    }


def build(work: dict[str, Any], frames: list[ase.Atoms], device: str) -> Model:
    """A model and its batch.

    Args:
        work: ``model``: our configuration; ``compiled``.
        frames: of the batch.
        device: cpu or cuda.
    """
    from e3nn import o3
    from mace import data, modules, tools
    from mace.tools import torch_geometric
    from mace.tools.compile import prepare

    table = tools.get_atomic_number_table_from_zs(z for frame in frames for z in frame.numbers)
    keys = data.KeySpecification(info_keys={}, arrays_keys={})
    graphs = [
        data.AtomicData.from_config(data.config_from_atoms(frame, keys), z_table=table, cutoff=CUTOFF)
        for frame in frames
    ]
    batch = to_device(torch_geometric.Batch.from_data_list(graphs).to_dict(), device)
    edges = int(batch["edge_index"].shape[1])
    hyper = keys_of(work["model"])

    def make() -> torch.nn.Module:
        return modules.ScaleShiftMACE(
            **hyper | {key: o3.Irreps(hyper[key]) for key in ("hidden_irreps", "MLP_irreps")},
            **{key: modules.interaction_classes[name] for key, name in BLOCKS.items()},
            num_elements=len(table),
            atomic_numbers=table.zs,
            atomic_energies=np.zeros((1, len(table))),
            avg_num_neighbors=edges / len(batch["positions"]),
            gate=torch.nn.functional.silu,
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )

    module = (prepare(make)() if work["compiled"] else make()).to(device)
    called = torch.compile(module) if work["compiled"] else module

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        given = fresh(batch, "positions")
        if work["compiled"]:  # the compiler does not see that the model asks for it
            given["positions"].requires_grad_()
        out = called(given, training=module.training)
        return out["energy"], out["forces"]

    return Model("mace-torch", module, predict, edges, hyper | BLOCKS)


if __name__ == "__main__":
    run(__doc__ or "", build)
