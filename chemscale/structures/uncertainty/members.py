"""Which runs of a sweep are a committee: points that differ in nothing but their seed."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from chemscale.models.potentials import load_potential
from chemscale.objects.reading import bring_sweep
from chemscale.records import RECORD_NAME, RunRecord, State, find_records, find_run
from chemscale.structures.uncertainty.committee import Committee, CommitteeError

log = logging.getLogger(__name__)

COMPARED = ("model", "data", "loss", "optimizer", "schedule", "budget", "batch", "ema", "trainer.precision")
"""Parts of the configuration that members share: all that decides a potential but its seed."""
NOT_COMPARED = (
    "model.from", "data.path", "data.validation_path", "data.test_path", "data.workers",
    "data.prepare_workers", "data.verify", "data.selection", "batch.per_gpu", "batch.accumulate",
)  # fmt: skip
"""Keys among them that say where things lie or how work is divided; the data are known by their hash."""
MOST_SHOWN = 6


@dataclass(frozen=True)
class Members:
    """The runs of a committee.

    Args:
        source: as it was given.
        folders: of the models.
        names: of the runs.
        identities: of the runs, or of the folders where there is no record.
        records: of the runs; None for folders without one.
    """

    source: str
    folders: tuple[Path, ...]
    names: tuple[str, ...]
    identities: tuple[str, ...]
    records: tuple[RunRecord | None, ...]

    def load(
        self,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        energy_factor: float = 1.0,
        forces_factor: float = 1.0,
    ) -> Committee:
        """Open the members.

        Args:
            dtype: precision of the networks; as trained if None.
            device: where they run.
            energy_factor: of a calibration.
            forces_factor: likewise.

        Raises:
            CommitteeError: they do not make a committee.
            PotentialError: a folder holds no potential.
        """
        potentials = [load_potential(folder, dtype=dtype) for folder in self.folders]
        names = [f"{name} ({folder})" for name, folder in zip(self.names, self.folders, strict=True)]
        made = Committee(potentials, names, energy_factor=energy_factor, forces_factor=forces_factor)
        return made.to(device).eval().requires_grad_(False)


def find_members(source: str | Path | Sequence[str | Path]) -> Members:
    """The finished runs that a committee is made of.

    Args:
        source: the folder of a sweep whose points differ in their seed only; ``RUNS/SWEEP/NAME`` for those of
            one name, which may be a pattern (``runs/sizes/painn-w32*``); or a list of runs or model folders.

    Raises:
        CommitteeError: fewer than two finished potentials, or points that differ in more than their seed.
        RecordError: nothing is there.
    """
    if isinstance(source, str | Path):
        source = bring_sweep(Path(source))
        found = _of_sweep(Path(source))
        _refuse_differences(Path(source), [record for _, record in found])
        return _members(str(source), [(folder, record) for folder, record in found])
    runs = [find_run(Path(each)) for each in source]
    if len({run.resolve() for run in runs}) < len(runs):
        twice = next(run for n, run in enumerate(runs) if run.resolve() in {r.resolve() for r in runs[:n]})
        raise CommitteeError(f"{twice} is in the committee twice: it would always agree with itself.")
    listed: list[tuple[Path, RunRecord | None]] = []
    for run in runs:
        beside = run.parent if run.name == "model" else run
        record = RunRecord.load(beside) if (beside / RECORD_NAME).is_file() else None
        listed.append((beside if record else run, record))
    return _members(", ".join(map(str, source)), listed)


def is_sweep(path: Path) -> bool:
    """Whether a path stands for several runs: a folder of runs, or a name that several of them have.

    Args:
        path: as a person gave it.
    """
    path = bring_sweep(path)
    if path.exists():
        holds_one = (path / RECORD_NAME).exists() or (path / "config.json").exists()
        return path.is_dir() and not holds_one and any(path.glob(f"*/{RECORD_NAME}"))
    return len(_named(path)) > 1


def _named(path: Path) -> list[tuple[Path, RunRecord]]:
    """Runs beside each other whose name fits the last part of a path."""
    if not path.parent.is_dir():
        return []
    found = [(p.parent, RunRecord.load(p)) for p in sorted(path.parent.glob(f"*/{RECORD_NAME}"))]
    return [(folder, record) for folder, record in found if fnmatchcase(record.name, path.name)]


def _of_sweep(path: Path) -> list[tuple[Path, RunRecord]]:
    """Finished potentials of a sweep; those that are not done are said.

    Raises:
        CommitteeError: there are fewer than two.
    """
    if path.exists() and (path / RECORD_NAME).exists():
        raise CommitteeError(
            f"{path} is one run: give the folder of its sweep, RUNS/SWEEP/NAME, or a list of runs."
        )
    found = list(find_records(path)) if path.is_dir() else _named(path)
    done = [
        (folder, record)
        for folder, record in found
        if record.state is State.DONE
        and record.family != "chemgpt"
        and (folder / "model" / "config.json").exists()
    ]
    if len(done) < 2:
        known = ", ".join(sorted({record.name for _, record in found})[:MOST_SHOWN]) or "nothing"
        raise CommitteeError(
            f"{path}: {len(done)} finished potentials of {len(found)} runs ({known}), and a committee has "
            "two members or more. Train several seeds, for example seed=0,1,2,3,4."
        )
    if len(done) < len(found):
        log.warning("%s: %d of %d runs are finished potentials, the others are left out.", path, len(done),
                    len(found))  # fmt: skip
    return done


def _members(source: str, found: Sequence[tuple[Path, RunRecord | None]]) -> Members:
    folders = tuple(f / "model" if (f / "model" / "config.json").exists() else f for f, _ in found)
    return Members(
        source,
        folders,
        tuple(record.name if record else folder.name for folder, record in found),
        tuple(record.identity if record else folder.name for folder, record in found),
        tuple(record for _, record in found),
    )


def _refuse_differences(source: Path, records: Sequence[RunRecord]) -> None:
    """Refuse runs that differ in more than their seed, and runs of one seed.

    Raises:
        CommitteeError: naming the keys and their values.
    """
    flat = [_flat(record) for record in records]
    keys = list(dict.fromkeys(key for each in flat for key in each))
    differing = {key: {each.get(key, "absent") for each in flat} for key in keys}
    differing = {key: values for key, values in differing.items() if len(values) > 1}
    if differing:
        told = "; ".join(
            f"{key}: {', '.join(sorted(values)[:MOST_SHOWN])}"
            for key, values in list(differing.items())[:MOST_SHOWN]
        )
        names = sorted({record.name for record in records})
        raise CommitteeError(
            f"{source}: its points differ in more than their seed ({told}). Name those of one kind, "
            f"{source.parent if not source.is_dir() else source}/NAME with NAME one of "
            f"{', '.join(names[:MOST_SHOWN])} or a pattern, or list the runs."
        )
    seeds = [record.seed for record in records]
    if len(set(seeds)) < len(seeds):
        raise CommitteeError(f"{source}: two of its runs have the same seed and would always agree.")


def _flat(record: RunRecord) -> dict[str, str]:
    """What decides a potential but its seed: dotted key → value as JSON."""
    found: dict[str, str] = {"family": record.family, "data": record.data_hash}

    def walk(key: str, value: Any) -> None:
        if key in NOT_COMPARED:
            return
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk(f"{key}.{name}", inner)
        else:
            found[key] = json.dumps(value, sort_keys=True)

    for part in COMPARED:
        section: Any = record.config
        for name in part.split("."):
            section = section.get(name) if isinstance(section, dict) else None
        walk(part, section)
    return found
