"""A training of ours by its own command, ``chemscale.train``: errors of its averaged weights through the run.

Runs in the folder where it is started and leaves ``result.json`` there.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

import ase
import ase.io
import torch
from snapshots import Snapshots, arguments, errors, write


def command_line(work: dict[str, Any]) -> list[str]:
    """Arguments of ``chemscale.train``.

    Args:
        work: ``overrides``; ``files`` of train, validation and test; ``steps``; ``seed``; ``threads``.
    """
    files = work["files"]
    return [
        *work["overrides"],
        "data=structures",
        f"data.path={files['train']}",
        f"data.validation_path={files['validation']}",
        f"data.test_path={files['test']}",
        "data.references=minimum_norm",
        f"budget.steps={work['steps']}",
        f"seed={work['seed']}",
        f"trainer.threads={work['threads']}",
        "trainer.accelerator=cpu",
        "logger=none",
    ]


def predictions(model: Any, frames: list[ase.Atoms]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Energies and forces of frames, batch by batch.

    Args:
        model: a ``Potential``.
        frames: of the test file.
    """
    from chemscale.structures.graphs import Structure, collate

    found = []
    for start in range(0, len(frames), 50):
        structures = [Structure(f.numbers, f.positions) for f in frames[start : start + 50]]
        out = model(collate([s.with_neighbours(model.cutoff) for s in structures]), create_graph=False)
        found.append((out.energy, out.forces))
    return found


def main() -> None:
    work = arguments(__doc__ or "")
    sys.path.pop(0)  # of this folder: the training has no business here
    from chemscale.tasks.potential import InteratomicPotential

    snapshots = Snapshots(work["steps"])
    modules: list[InteratomicPotential] = []
    stepped = InteratomicPotential.stepped

    def counted(self: InteratomicPotential) -> None:
        stepped(self)
        modules[:] = [self]
        snapshots.stepped(self.best_model.parameters())

    InteratomicPotential.stepped = counted  # type: ignore[method-assign]
    sys.argv = ["train", *command_line(work)]
    runpy.run_module("chemscale.train", run_name="__main__", alter_sys=True)
    frames: Any = ase.io.read(work["files"]["test"], ":")
    model = modules[0].best_model
    found = []
    for _, _, weights in snapshots.taken:
        with torch.no_grad():
            for parameter, weight in zip(model.parameters(), weights, strict=True):
                parameter.copy_(weight)
        found.append(errors(predictions(model.eval(), frames), frames))
    write("chemscale", snapshots, found)


if __name__ == "__main__":
    main()
