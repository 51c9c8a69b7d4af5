"""Molecules of a training's weights judged by a process of its own: ``python -m … TASK.json``.

What it needs is in the folder of the weights and in one JSON file; what it finds is another one. It runs on
one CPU thread, at low priority, while training goes on.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NICENESS = 10
COMPLEMENTS = {
    "invalid": "valid",
    "duplicates": "unique",
    "known": "novel",
    "scaffold_distance": "scaffolds",
    "fragment_distance": "fragments",
}
"""Metrics that fall where a model gets better, as a law wants them: 1 less another one."""
MAX_INDEXED = 1_000_000
"""Training molecules of which an index is built here: some minutes. Of more, one that is there is used."""


@dataclass(frozen=True)
class Task:
    """What is judged.

    Args:
        model: folder of weights and tokenizer.
        corpus: that it is trained on.
        first: number of its training molecules that it is trained on; None for all.
        n: molecules to draw.
        seed: of the draws.
        max_length: symbols at most.
    """

    model: str
    corpus: str
    first: int | None
    n: int
    seed: int
    max_length: int


def judge_weights(task: Task) -> dict[str, Any]:
    """Metrics of the molecules that weights draw, by name; those that do not exist are left out.

    Args:
        task: what is judged.
    """
    from chemscale.molecules.conditions import open_prefix
    from chemscale.molecules.generation.sampling import Sampling, sample
    from chemscale.molecules.loading import load_trained
    from chemscale.molecules.metrics import fcd
    from chemscale.molecules.metrics.features import compute_features
    from chemscale.molecules.metrics.judge import Described, judge, judge_novelty, judge_validity
    from chemscale.molecules.metrics.novelty.index import Reference, open_index
    from chemscale.molecules.metrics.sampled.samples import Samples, of_ids

    model, tokenizer = load_trained(Path(task.model), "cpu")
    sampling, opening = Sampling(max_length=task.max_length), open_prefix(tokenizer)
    begin: dict[str, Any] = {"start": opening.start, "banned": opening.banned}
    batches = sample(model, task.n, sampling, seed=task.seed, batch=min(task.n, 256), **begin)
    drawn = [each for batch in batches for each in of_ids(batch, tokenizer)]
    samples = Samples(tuple(drawn), written=True, source=task.model)
    values, valid = judge_validity(samples), samples.valid
    held_out = open_index(Reference(Path(task.corpus), split="validation"), silent=True)
    training = Reference(Path(task.corpus), split="train")
    if valid and (training.size() <= MAX_INDEXED or training.is_indexed()):
        values["novel"] = judge_novelty(valid, open_index(training, silent=True), task.first)
    if valid:

        def described(smiles: list[str]) -> Described:
            features = compute_features(smiles, guacamol=False, filters=False, silent=True)
            return Described(features, fcd.activations(smiles, silent=True) if fcd.is_installed() else None)

        reference = described(held_out.sample(task.n))
        values |= judge(described(valid), reference, draws=0).values
    found = {name: value.value for name, value in values.items() if value.value == value.value}
    found |= {name: 1 - found[other] for name, other in COMPLEMENTS.items() if other in found}
    return {"values": found, "n": task.n, "valid": len(valid), "fates": samples.fates()}


def main() -> None:
    """Judge the weights of a task, and write what was found beside it."""
    from chemscale.common.files import write_json
    from chemscale.molecules.metrics.sampled.model import weights_hash

    path = Path(sys.argv[1])
    os.nice(NICENESS)
    raw = json.loads(path.read_text())
    task = Task(**raw["task"])
    weights = weights_hash(Path(task.model))
    write_json(Path(raw["out"]), {"weights": weights, **judge_weights(task)})


if __name__ == "__main__":
    main()
