"""What the command ``prepare`` does: a corpus or a store, what is said of it, and its report.

Also within a job that the command queued. What is shown of data that several processes prepared together is
shown by one of them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chemscale.common.exit_status import START_AGAIN
from chemscale.common.locks import file_lock
from chemscale.common.sections import ConfigurationError, read_section
from chemscale.launchers.slurm.environment import Allocation
from chemscale.molecules.settings import MoleculeData
from chemscale.objects.address import is_address, local_place
from chemscale.objects.seals import PAGES, publish_report
from chemscale.points.data import (
    STRUCTURE_SOURCES,
    exclusion_of,
    frame_exclusion_of,
    log_notes,
    open_or_prepare,
    open_or_prepare_structures,
    read_molecule_data,
    read_structure_data,
    structure_files,
    structure_source,
)

if TYPE_CHECKING:
    from chemscale.molecules.corpus import Corpus
    from chemscale.molecules.preparation.sharing.work import Shared
    from chemscale.structures.store import FrameStore

log = logging.getLogger(__name__)

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What SLURM sends before it ends a job."""


@dataclass(frozen=True)
class PrepareSettings:
    """Keys at the top of the configuration (``conf/prepare.yaml`` says what each means)."""

    corpora: str
    structures: str
    lint: Literal["warn", "strict", "off", "only"]
    report: bool
    shared: bool | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> PrepareSettings:
        """Read them from the resolved configuration."""
        return read_section(cls, {field.name: config[field.name] for field in fields(cls)}, "")


def is_molecules(config: Mapping[str, Any]) -> bool:
    """Whether a configuration prepares a corpus, which several processes can share; else a store."""
    return config["data"]["source"] not in STRUCTURE_SOURCES


def refuse_address(place: str, key: str) -> None:
    """Refuse an address of an object store for what jobs prepare: they work in a folder that all of them see.

    Args:
        place: where prepared data are kept.
        key: by which it was given.

    Raises:
        ConfigurationError: it is an address.
    """
    if is_address(place):
        raise ConfigurationError(
            f"{key}={place}: jobs and processes that share a preparation need a folder that all of them see. "
            f"Prepare into a path, {key}=PATH; or prepare by one process, without launcher and srun."
        )


def check_preparation(config: Mapping[str, Any]) -> None:
    """Refuse at once what a job would refuse later.

    Args:
        config: resolved, plain dictionaries.

    Raises:
        ConfigurationError: a value that makes no sense, or keys that do not go together.
        FileNotFoundError: a path names nothing.
    """
    _settings(config)
    key = "corpora" if is_molecules(config) else "structures"
    refuse_address(config[key], key)
    if is_molecules(config):
        molecules = read_molecule_data(config["data"])
        if molecules.path:
            from chemscale.fetching.places import refuse_missing
            from chemscale.molecules.preparation.sources.files import find_files

            refuse_missing(molecules.path)
            find_files(molecules.path)
        exclusion_of(molecules)
        return
    structures = read_structure_data(config["data"])
    if structures.path:
        structure_files(structures)
    frame_exclusion_of(structures)


def _settings(config: Mapping[str, Any]) -> PrepareSettings:
    settings = PrepareSettings.of(config)
    if is_molecules(config):
        return settings
    if settings.shared:
        raise ConfigurationError(
            "shared=true: a store of structures is prepared by one process, with data.prepare_workers; leave "
            "shared out."
        )
    if settings.lint == "only" and settings.report:
        raise ConfigurationError("report=true: lint=only prepares nothing to report on; use lint=warn.")
    return settings


def prepare(config: Mapping[str, Any]) -> bool:
    """Prepare what a configuration names, show it and write its report.

    Args:
        config: resolved, plain dictionaries.

    Returns:
        Whether the linter found no errors; true of molecules.

    Raises:
        ValueError: a file, a policy or a key is refused; the message says which and why.
        SystemExit: SLURM ends this process, which shares its work with others: status 75.
    """
    settings = _settings(config)
    if is_molecules(config):
        _prepare_molecules(read_molecule_data(config["data"]), settings)
        return True
    return _prepare_structures(config, settings)


# --- molecules ----------------------------------------------------------------------------------------------


def _prepare_molecules(molecules: MoleculeData, settings: PrepareSettings) -> None:
    allocation = Allocation.of(os.environ)
    shared = settings.shared if settings.shared is not None else allocation.tasks > 1
    if not shared:
        corpus = open_or_prepare(molecules, local_place(settings.corpora))
        show_corpus(corpus)
        if settings.report:
            _report(corpus, molecules)
        return
    refuse_address(settings.corpora, "corpora")
    from chemscale.molecules.preparation.sharing.work import Shared

    own = f"task {allocation.name}" if allocation.name else f"process {os.getpid()}"
    work = Shared(f"{own} on {socket.gethostname()}", allocation.session)
    if molecules.prepare_workers is None:
        molecules = replace(molecules, prepare_workers=allocation.cores)
    with stopped_by_slurm():
        corpus = open_or_prepare(molecules, Path(settings.corpora), work)
        first = not work.joined and allocation.is_first  # it was complete already
        if work.finished or first:
            show_corpus(corpus)
        else:
            log.info("Corpus %s is complete.", corpus.path)
        if settings.report and (work.finished or not work.joined):
            _report_once(corpus, molecules, work, again=first)


@contextlib.contextmanager
def stopped_by_slurm() -> Iterator[None]:
    """Within it a signal that ends a job ends what runs in order, so that others need not wait for it."""

    def stop(number: int, frame: object) -> None:
        for each in STOPPING:
            signal.signal(each, signal.SIG_IGN)
        log.info("%s: this process leaves its work to the others.", signal.Signals(number).name)
        raise SystemExit(START_AGAIN)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _report(corpus: Corpus, molecules: MoleculeData) -> None:
    from chemscale.points.data_report.corpus import report_corpus

    report_corpus(corpus, molecules.block, molecules.prepare_workers)
    publish_report(corpus.path, PAGES)


def _report_once(corpus: Corpus, molecules: MoleculeData, work: Shared, *, again: bool) -> None:
    """Write the report in one of several processes.

    Args:
        corpus: that is complete.
        molecules: how it is used.
        work: of this process.
        again: also where there is a report already.
    """
    from chemscale.points.data_report.page import PAGE

    class _Busy(Exception):
        pass

    lock = corpus.path.parent / f".{corpus.path.name}.report.lock"
    with contextlib.suppress(_Busy), file_lock(lock, busy=lambda _: _Busy()):
        if again or not (corpus.path / PAGE).exists():
            _report(corpus, molecules)


def show_corpus(corpus: Corpus) -> None:
    """What was read, what was kept, what was dropped and why."""
    from chemscale.molecules.preparation.telling import log_conditions, log_sources
    from chemscale.molecules.preparation.vocabulary import audit_vocabulary, describe_vocabulary

    counts = corpus.manifest["counts"]
    log.info("Corpus %s", corpus.path)
    log.info(
        "%s rows: %s training and %s validation molecules, %s tokens in the vocabulary.",
        *(f"{n:,}" for n in (counts["rows"], counts["train"], counts["validation"])),
        corpus.tokenizer.vocab_size,
    )
    log_sources(corpus)
    log_conditions(corpus)
    for reason, number in sorted(counts["dropped"].items(), key=lambda item: -item[1]):
        first = corpus.manifest["examples"][reason][0]
        where = f" (first: {first['file']}:{first['line']})" if "file" in first else ""
        log.info("  dropped %s: %s%s", f"{number:,}", reason, where)
    if counts["dropped"]:
        log.info("Each dropped row, with its reason: %s", corpus.path / "dropped.csv.gz")
    for line in describe_vocabulary(corpus, audit_vocabulary(corpus)):
        log.info("%s", line)


# --- structures ---------------------------------------------------------------------------------------------


def _prepare_structures(config: Mapping[str, Any], settings: PrepareSettings) -> bool:
    from chemscale.structures.lint import report
    from chemscale.structures.lint.run import lint_source, lint_store

    structures = read_structure_data(config["data"])
    if settings.lint == "only":
        _, source = structure_source(structures, local_place(settings.structures))
        findings = lint_source(source)
        for note in source.notes:
            log.info("  %s", note)
        for line in report(findings):
            log.info("%s", line)
    else:
        store = open_or_prepare_structures(structures, local_place(settings.structures))
        show_store(store)
        findings = lint_store(store, settings.lint)  # logs its report
        if settings.report:
            from chemscale.points.data_report.store import report_store

            looked = None if settings.lint == "off" else findings
            report_store(store, structures.reference_method, looked)
            publish_report(store.path, PAGES)
    return not any(finding.severity == "error" for finding in findings)


def show_store(store: FrameStore) -> None:
    """What the store holds, and how it was read."""
    manifest = store.manifest
    counts = manifest["counts"]
    log.info("Store %s (%s)", store.path, manifest["level"] or "level of theory not stated")
    log.info(
        "%s frames of %s molecules, %s atoms: %s for training, %s for validation, %s for testing.",
        *(f"{counts[key]:,}" for key in ("frames", "molecules", "atoms", "train", "validation", "test")),
    )
    log.info("In the source: %s. Here: eV, Å.", manifest["units"]["in the source"])
    for reason, number in sorted(counts.get("left_out", {}).items(), key=lambda item: -item[1]):
        log.info("  left out %s: %s", f"{number:,} frames", reason)
    log_notes(store)
