"""``fetch``, ``prepare``, ``train`` and ``fit`` for Python: commands as functions, with what they leave."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.objects.address import local_place
from chemscale.records import RunRecord, find_records

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from chemscale.analysis.fit import FitOutcome
    from chemscale.molecules.corpus import Corpus
    from chemscale.structures.store import FrameStore


class CommandError(ValueError):
    """A command that did not end well; it said why."""


def fetch(
    name: str,
    *,
    data: Path | str | None = None,
    only: str | Sequence[str] = (),
    registry: Path | str | Sequence[Path | str] = (),
) -> list[Path]:
    """Fetch a published data set, as ``python -m chemscale.fetch`` does; what is here whole stays.

    Args:
        name: of a set, or ``hf://datasets/ORG/NAME``.
        data: where sets lie; None for ``CHEMSCALE_DATA``, else ``data`` in this folder.
        only: files of the set by a part of their name, or patterns; empty for all.
        registry: files that describe sets of your own.

    Returns:
        The files that readers read; the folder, for a set of the Hugging Face Hub.

    Raises:
        FetchError: there is no such set, a file cannot be had whole, or the disk has no room.
    """
    from chemscale.fetching.errors import FetchError
    from chemscale.fetching.hub import fetch_from_hub, hub_name
    from chemscale.fetching.places import data_home
    from chemscale.fetching.registry import choose, load_registry
    from chemscale.fetching.sets import Options, fetch_set

    home = (data_home() if data is None else Path(data)).expanduser()
    patterns = (only,) if isinstance(only, str) else tuple(only)
    if (of_hub := hub_name(name)) is not None:
        if patterns or registry:
            raise FetchError(
                f"{name}: a part of a set of the Hub is hf://datasets/ORG/NAME/FILES, not only=."
            )
        return [fetch_from_hub(of_hub, home)]
    files = (registry,) if isinstance(registry, str | Path) else registry
    return fetch_set(
        choose(load_registry([Path(each) for each in files]), name), home, Options(only=patterns)
    )


def prepare(*overrides: str) -> Corpus | FrameStore:
    """Prepare molecules or structures, as ``python -m chemscale.prepare`` does, in a process of its own.

    What is prepared already is only opened.

    Args:
        overrides: ``key=value``, one text each: ``prepare("data=smiles", "data.path=molecules.csv")``.

    Returns:
        The corpus of molecules, or the store of structures.

    Raises:
        CommandError: the command refused its input, or would leave nothing to open: with ``lint=only``, or
            where jobs are not waited for.
    """
    _refuse_nothing_to_open(overrides)
    status = _run([sys.executable, "-m", "chemscale.prepare", *overrides])
    if status:
        raise CommandError(f"chemscale.prepare left with status {status}: what it printed says why.")
    from omegaconf import OmegaConf

    from chemscale.points.data import (
        STRUCTURE_SOURCES,
        open_or_prepare,
        open_or_prepare_structures,
        read_molecule_data,
        read_structure_data,
    )

    cfg = _composed("prepare", overrides)
    values = cast(dict[str, Any], OmegaConf.to_container(cfg.data, resolve=True))
    if values["source"] in STRUCTURE_SOURCES:
        return open_or_prepare_structures(read_structure_data(values), local_place(cfg.structures))
    return open_or_prepare(read_molecule_data(values), local_place(cfg.corpora))


def _refuse_nothing_to_open(overrides: Sequence[str]) -> None:
    """Refuse a preparation after which this process would prepare what the command has not."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        cfg = _composed("prepare", overrides)
    except (HydraException, OmegaConfBaseException):
        return  # the command says what is wrong
    if cfg.launcher.name != "local" and not cfg.launcher.wait:
        raise CommandError(
            f"launcher={cfg.launcher.name}: jobs are only queued, and there is nothing to open yet. Add "
            "launcher.wait=true, or queue them by the command python -m chemscale.prepare."
        )
    if cfg.lint == "only" and cfg.data.source in ("structures", "starter_structures"):
        raise CommandError(
            "lint=only prepares nothing to open: use lint=warn, or the command python -m chemscale.prepare."
        )


def train(*overrides: str) -> list[RunRecord]:
    """Train a point or a sweep, as ``python -m chemscale.train`` does, in a process of its own.

    What is done already is skipped and what is unfinished continues. The process survives what a notebook
    does not; Ctrl-C stops and saves it.

    Args:
        overrides: ``key=value``, one text each: ``train("+sweep=chemgpt_sizes", "data=smiles", …)``.

    Returns:
        The records of the sweep's folder, those of earlier commands included.

    Raises:
        CommandError: the command refused its input, or a point failed.
    """
    status = _run([sys.executable, "-m", "chemscale.train", *overrides])
    if status:
        raise CommandError(f"chemscale.train left with status {status}: what it printed says why.")
    return [record for _, record in find_records(_sweep_folder(overrides))]


def _run(command: Sequence[str]) -> int:
    """Status of a command whose lines appear where this process prints: a notebook's cell has no file."""
    try:
        sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                print(line, end="")
        return process.returncode
    return subprocess.run(command, check=False).returncode


def _sweep_folder(overrides: Sequence[str]) -> Path:
    """Where the points of a command line lie."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    single = [text for text, one in zip(overrides, parsed, strict=True) if not one.is_sweep_override()]
    cfg = _composed("train", single)
    return local_place(cfg.runs) / cfg.sweep_name


def _composed(command: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration of a command line."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
        return compose(command, list(overrides))


def fit(
    source: Path | str,
    *,
    out: Path | str | None = None,
    form: str | Sequence[str] = "auto",
    axis: str | None = None,
    unit: str | None = None,
    columns: str | None = None,
    flops_model: str | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> FitOutcome:
    """Fit a scaling law, as ``python -m chemscale.fit`` does.

    Args:
        source: a folder of runs, an address of one, or a table of anyone's.
        out: folder of the report; beside the source if None.
        form: of the law, one or several; ``auto`` finds one.
        axis: of a law of one axis; None for the one that varies.
        unit: loss of runs that is fitted.
        columns: of a table: ``N=params,D=tokens,loss=val_loss``.
        flops_model: of a table: ``6nd``.
        bootstrap: draws.
        seed: of the draws.

    Returns:
        Lines to print, the report's path, and the law as a dictionary.

    Raises:
        PointsError: the runs or the table cannot be read, or an option does not go with them.
        StoreError: an object store does not answer, or has no runs there.
    """
    from chemscale.analysis.fit import Options, fit_csv, fit_runs
    from chemscale.objects.reading import bring_records
    from chemscale.objects.seals import publish_report

    named, source, place = str(source), bring_records(source), None if out is None else Path(out)
    forms = (form,) if isinstance(form, str) else tuple(form)
    options = Options(forms, axis, bootstrap=bootstrap, seed=seed)
    if source.is_dir():
        found = fit_runs(source, out=place, unit=unit, command=f"chemscale.fit({named!r})", options=options)
        publish_report(found.report.parent)
        return found
    command = f"chemscale.fit({named!r}, columns={columns!r})"
    return fit_csv(source, columns, out=place, command=command, flops_model=flops_model, options=options)
