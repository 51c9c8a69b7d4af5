"""Molecules to a corpus, structures to a store: ``python -m chemscale.prepare data=… data.path=FILE``."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, cast

import hydra
from omegaconf import DictConfig, OmegaConf

from chemscale.cli.app import one_paragraph
from chemscale.common.logs import show_logs
from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.common.sections import ConfigurationError, read_section
from chemscale.config.check import check_keys
from chemscale.objects.address import local_place
from chemscale.points.data import (
    STRUCTURE_SOURCES,
    log_notes,
    open_or_prepare,
    open_or_prepare_structures,
    read_molecule_data,
    read_structure_data,
    structure_source,
)

if TYPE_CHECKING:
    from chemscale.molecules.corpus import Corpus
    from chemscale.structures.store import FrameStore

log = logging.getLogger("chemscale.prepare")  # run with -m, __name__ is __main__


@dataclass(frozen=True)
class PrepareSettings:
    """Keys at the top of the configuration (``conf/prepare.yaml`` says what each means)."""

    corpora: str
    structures: str
    lint: Literal["warn", "strict", "off", "only"]
    report: bool


@hydra.main(config_path=str(CONFIG_DIRECTORY), config_name="prepare", version_base=None)
def hydra_main(cfg: DictConfig) -> None:
    check_keys(cfg, "prepare")
    data = cast(dict[str, Any], OmegaConf.to_container(cfg.data, resolve=True, throw_on_missing=True))
    own = {field.name: cfg[field.name] for field in fields(PrepareSettings)}
    settings = read_section(PrepareSettings, own, "")
    if data["source"] not in STRUCTURE_SOURCES:
        molecules = read_molecule_data(data)
        corpus = open_or_prepare(molecules, local_place(settings.corpora))
        show(corpus)
        if settings.report:
            from chemscale.points.data_report.corpus import report_corpus

            report_corpus(corpus, molecules.block, molecules.prepare_workers)
        return
    from chemscale.structures.lint import report
    from chemscale.structures.lint.run import lint_source, lint_store

    structures = read_structure_data(data)
    if settings.lint == "only":
        if settings.report:
            raise ConfigurationError("report=true: lint=only prepares nothing to report on; use lint=warn.")
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
    if any(f.severity == "error" for f in findings):
        sys.exit(1)


def main() -> None:
    show_logs()
    with one_paragraph():
        hydra_main()


def show(corpus: Corpus) -> None:
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
    log_notes(store)


if __name__ == "__main__":
    main()
