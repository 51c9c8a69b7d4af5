"""Our force evaluation and generation in turns, of whatever revision stands on the path; fresh weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from forces import read_frames
from turns import Turns, arguments, serve

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.potentials import build, read_config
from chemscale.molecules.generation.sampling import Sampling, sample
from chemscale.structures.graphs import Structure, collate

Step = Callable[[], float]


def forces_step(work: dict[str, Any], device: str) -> tuple[Step, torch.nn.Module]:
    """Energies and forces of one batch, its neighbours found before; it returns its atoms.

    Args:
        work: ``model`` (a configuration), ``file`` and ``frames``.
        device: where it runs.
    """
    config = read_config(work["model"])
    frames = read_frames(Path(work["file"]), work["frames"])
    data = collate(
        [Structure(f.numbers, f.positions).with_neighbours(config.cutoff) for f in frames.structures]
    )
    potential = build(config, tuple(sorted({int(z) for z in data.z.unique()})))
    potential = potential.to(device).eval().requires_grad_(False)
    data = data.to(device)

    def step() -> float:
        potential(data, create_graph=False)
        return float(data.z.shape[0])

    return step, potential


def generation_step(work: dict[str, Any], device: str) -> tuple[Step, torch.nn.Module]:
    """Drawing one batch of sequences; it returns their symbols.

    Args:
        work: ``vocabulary``, ``width``, ``layers``, ``heads``, ``batch`` and ``longest``.
        device: where it runs.
    """
    shape = {key: work[key] for key in ("width", "layers", "heads")}
    model = ChemGPT(ChemGPTConfig(work["vocabulary"], **shape)).to(device).eval()
    settings, batch = Sampling(max_length=work["longest"]), work["batch"]
    seeds = iter(range(10**9))

    def step() -> float:
        drawn = sample(model, batch, settings, seed=next(seeds), batch=batch)
        return float(sum(len(sequence) for part in drawn for sequence in part))

    return step, model


def main() -> None:
    options = arguments(__doc__ or "")
    turns = Turns(options.device, options.warmup)
    kinds = {"forces": forces_step, "generation": generation_step}
    step, model = kinds[options.work["kind"]](options.work, options.device)
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    parameters = sum(p.numel() for p in model.parameters() if id(p) not in tables)
    serve(turns, step, {"parameters": parameters}, count=options.work["kind"] == "forces")


if __name__ == "__main__":
    main()
