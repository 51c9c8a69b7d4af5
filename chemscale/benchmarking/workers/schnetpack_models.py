"""SchNetPack's PaiNN and SchNet in turns."""

from __future__ import annotations

from typing import Any

import ase
import schnetpack as spk
import torch
from forces import CUTOFF, Model, fresh, run
from schnetpack import properties
from schnetpack.interfaces import AtomsConverter
from schnetpack.transform import MatScipyNeighborList


def build(work: dict[str, Any], frames: list[ase.Atoms], device: str) -> Model:
    """A model and its batch.

    Args:
        work: ``model``: family, width, layers and radial.
        frames: of the batch.
        device: cpu or cuda.
    """
    shape = work["model"]
    width, layers, radial = shape["width"], shape["layers"], shape["radial"]
    basis, cutoff = spk.nn.GaussianRBF(radial, CUTOFF), spk.nn.CosineCutoff(CUTOFF)
    if shape["family"] == "painn":
        representation = spk.representation.PaiNN(width, layers, basis, cutoff)
    else:
        representation = spk.representation.SchNet(width, layers, basis, cutoff, n_filters=width)
    readout = spk.atomistic.Atomwise(n_in=width, output_key=properties.energy)
    module = spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[readout, spk.atomistic.Forces()],
    ).to(device)
    batch = AtomsConverter(MatScipyNeighborList(CUTOFF), dtype=torch.float32, device=device)(frames)

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        out = module(fresh(batch, properties.R))
        return out[properties.energy], out[properties.forces]

    hyper = {**shape, "readout": [layer.out_features for layer in readout.outnet]}
    return Model("schnetpack", module, predict, len(batch[properties.idx_i]), hyper)


if __name__ == "__main__":
    run(__doc__ or "", build)
