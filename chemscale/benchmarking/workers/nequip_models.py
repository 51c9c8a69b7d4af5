"""nequip's NequIP and allegro's Allegro in turns, eager or compiled for training by the package itself."""

from __future__ import annotations

from typing import Any

import ase
import torch
from forces import CUTOFF, Model, fresh, run, to_device
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.nn import ScalarMLPFunction
from nequip.utils.global_state import set_global_state


def batch_of(frames: list[ase.Atoms], types: list[str]) -> dict[str, torch.Tensor]:
    """A batch by nequip's own pipeline; without periodicity the cell is dropped, which spares it the stress.

    Args:
        frames: of the batch.
        types: symbols of the elements.
    """
    transforms = [ChemicalSpeciesToAtomTypeMapper(types), NeighborListTransform(CUTOFF)]
    rows = []
    for frame in frames:
        row = from_ase(frame)
        for transform in transforms:
            row = transform(row)
        rows.append(row)
    batch: dict[str, torch.Tensor] = AtomicDataDict.batched_from_list(rows)
    if not any(frame.pbc.any() for frame in frames):
        del batch[AtomicDataDict.CELL_KEY], batch[AtomicDataDict.EDGE_CELL_SHIFT_KEY]
    return batch


def nequip_keys(shape: dict[str, Any]) -> dict[str, Any]:
    """Our hyper-parameters of NequIP as the package calls them."""
    return {
        "num_layers": shape["layers"],
        "l_max": shape["l_max"],
        "parity": shape["parity"],
        "num_features": shape["width"],
        "radial_mlp_depth": 2,
        "radial_mlp_width": 64,
        "num_bessels": 8,
        "polynomial_cutoff_p": 6,
    }


def allegro_keys(shape: dict[str, Any]) -> dict[str, Any]:
    """Our hyper-parameters of Allegro as the package calls them; its tensors have both parities."""
    return {
        "num_layers": shape["layers"],
        "l_max": shape["l_max"],
        "parity": shape["parity"],
        "num_scalar_features": shape["width"],
        "num_tensor_features": shape["tensors"],
        "radial_chemical_embed": {
            "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
            "num_bessels": 8,
            "polynomial_cutoff_p": 6,
        },
        "scalar_embed_mlp_hidden_layers_depth": 1,
        "scalar_embed_mlp_hidden_layers_width": 64,
        "allegro_mlp_hidden_layers_depth": 1,
        "allegro_mlp_hidden_layers_width": 64,
        "readout_mlp_hidden_layers_depth": 1,
        "readout_mlp_hidden_layers_width": 32,
    }


def build(work: dict[str, Any], frames: list[ase.Atoms], device: str) -> Model:
    """A model and its batch.

    Args:
        work: ``model``: our configuration; ``compiled``.
        frames: of the batch.
        device: cpu or cuda.
    """
    set_global_state()
    shape = work["model"]
    types = sorted({symbol for frame in frames for symbol in frame.get_chemical_symbols()})
    batch = batch_of(frames, types)
    edges = AtomicDataDict.num_edges(batch)
    if shape["family"] == "nequip":
        from nequip.model import NequIPGNNModel as make

        package, hyper = "nequip", nequip_keys(shape)
    else:
        from allegro.model import AllegroModel as make

        package, hyper = "nequip-allegro", allegro_keys(shape)
    module = make(
        seed=0,
        model_dtype="float32",
        r_max=CUTOFF,
        type_names=types,
        avg_num_neighbors=edges / AtomicDataDict.num_nodes(batch),
        compile_mode="compile" if work["compiled"] else "eager",
        **hyper,
    ).to(device)
    found = to_device(batch, device)

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        out = module(fresh(found, AtomicDataDict.POSITIONS_KEY))
        return out[AtomicDataDict.TOTAL_ENERGY_KEY].flatten(), out[AtomicDataDict.FORCE_KEY]

    mlps = {n: m.dims for n, m in module.named_modules() if isinstance(m, ScalarMLPFunction)}
    return Model(package, module, predict, edges, {**hyper, "mlp_dims": mlps})


if __name__ == "__main__":
    run(__doc__ or "", build)
