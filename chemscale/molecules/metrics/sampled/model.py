"""Molecules drawn from a trained model to be judged, and kept: an interruption costs little."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chemscale.common.progress import ProgressBar
from chemscale.molecules.conditions import open_prefix
from chemscale.molecules.corpus import sha256
from chemscale.molecules.generation.sampling import Sampling, sample
from chemscale.molecules.loading import load_trained
from chemscale.molecules.metrics.sampled.samples import Drawn, Fate, Samples, of_ids
from chemscale.molecules.row_shards import RowShards
from chemscale.records import RECORD_NAME

SHARD = 1024
"""Molecules that are kept at a time."""


@dataclass(frozen=True)
class Draws:
    """What is drawn.

    Args:
        n: molecules.
        seed: of random numbers; the same seed and batch give the same molecules.
        batch: molecules that are drawn at a time.
        max_length: symbols at most; longer ones are truncated.
    """

    n: int = 10_000
    seed: int = 0
    batch: int = 256
    max_length: int = 512


def is_model(path: Path) -> bool:
    """Whether a path is a run, or a folder with a model.

    Args:
        path: as ``find_run`` gives it.
    """
    return any((path / name).exists() for name in (RECORD_NAME, "config.json", "model"))


def weights_hash(run: Path) -> str:
    """SHA-256 of the weights of a run or a folder; empty where they lie in another file than usual.

    Args:
        run: directory of a run, or a saved folder.
    """
    folder = run / "model" if (run / "model").is_dir() else run
    file = folder / "model.safetensors"
    return sha256(file) if file.is_file() else ""


def draw_samples(
    run: Path, draws: Draws, folder: Path, *, device: str = "auto", silent: bool = False
) -> Samples:
    """Draw from the model's own distribution, temperature 1, all symbols allowed, conditions left open.

    Args:
        run: directory of a run, or a saved folder.
        draws: what is drawn.
        folder: where the molecules are kept; what is there of the same request is not drawn again.
        device: cpu, cuda, or auto.
        silent: show no progress.

    Raises:
        ShardError: the folder holds molecules of another request.
        ValueError: there is no trained model.
    """
    request: dict[str, Any] = {**asdict(draws), "weights": weights_hash(run), "form": 2}
    shards = RowShards.open(folder, request)
    if shards.rows < draws.n:
        model, tokenizer = load_trained(run, device)
        sampling, opening = Sampling(max_length=draws.max_length), open_prefix(tokenizer)
        begin: dict[str, Any] = {"start": opening.start, "banned": opening.banned}
        with ProgressBar("draw", draws.n, "molecules", silent=silent) as progress:
            progress.start(shards.rows)
            while shards.rows < draws.n:
                drawn: list[Drawn] = []
                size, seed = min(SHARD, draws.n - shards.rows), shard_seed(draws.seed, shards.done)
                for sequences in sample(model, size, sampling, seed=seed, batch=draws.batch, **begin):
                    drawn += of_ids(sequences, tokenizer)
                    progress.advance(len(sequences))
                shards.write(_columns(drawn))
    return Samples(tuple(_rows(shards)), written=True, source=str(run))


def shard_seed(seed: int, number: int) -> int:
    """The seed of one shard: a function of the request's seed and the shard's number alone.

    Args:
        seed: of the request.
        number: of the shard.
    """
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _columns(drawn: list[Drawn]) -> dict[str, list[str]]:
    return {
        "text": [each.text for each in drawn],
        "SMILES": [each.smiles for each in drawn],
        "fate": [each.fate.value for each in drawn],
        "detail": [each.detail for each in drawn],
    }


def _rows(shards: RowShards) -> Iterator[Drawn]:
    for table in shards.read():
        columns = (table.column(name).to_pylist() for name in ("text", "SMILES", "fate", "detail"))
        for text, smiles, fate, detail in zip(*columns, strict=True):
            yield Drawn(text, smiles, Fate(fate), detail)
