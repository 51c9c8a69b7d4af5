"""Molecules to a corpus, structures to a store: ``python -m chemscale.prepare data=… data.path=FILE``."""

from __future__ import annotations

import glob
import logging
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from omegaconf import DictConfig, OmegaConf

from chemscale.errors import CONFIG_DIRECTORY, one_paragraph, show_logs
from chemscale.keys import check_keys
from chemscale.preparing import one_maker

if TYPE_CHECKING:
    import numpy as np

    from chemscale.molecules.corpus import Corpus
    from chemscale.structures.blocks import Block, Source
    from chemscale.structures.lint import Finding
    from chemscale.structures.store import FrameStore

log = logging.getLogger("chemscale.prepare")  # run with -m, __name__ is __main__


@hydra.main(config_path=str(CONFIG_DIRECTORY), config_name="prepare", version_base=None)
def hydra_main(cfg: DictConfig) -> None:
    check_keys(cfg, "prepare")
    data = cast(dict[str, Any], OmegaConf.to_container(cfg.data, resolve=True, throw_on_missing=True))
    if data["source"] not in ("structures", "starter_structures"):
        show(open_or_prepare(data, Path(cfg.corpora)))
        return
    if cfg.lint == "only":
        _, _, source = structure_source(data, Path(cfg.structures))
        findings = lint_source(source)
    else:
        store = open_or_prepare_structures(data, Path(cfg.structures))
        findings = lint_store(store, cfg.lint)
        show_store(store)
    show_findings(findings)


def main() -> None:
    show_logs()
    with one_paragraph():
        hydra_main()


def open_or_prepare(data: dict[str, Any], corpora: Path) -> Corpus:
    """The corpus that a ``data`` configuration describes, prepared first where it is missing.

    It lies in ``<corpora>/<name>-<key>``: the key is a hash of the inputs, the policies and the tools, so a
    change of any of them makes another corpus and never overwrites one.

    Raises:
        FileNotFoundError: ``data.path`` names nothing.
        ValueError: a file or a policy is refused; the message says which and why.
    """
    from chemscale.molecules.building import build_corpus, corpus_key
    from chemscale.molecules.corpus import MANIFEST
    from chemscale.molecules.starter import write_starter
    from chemscale.molecules.tokenizer import SelfiesTokenizer

    corpora.mkdir(parents=True, exist_ok=True)
    if data["source"] == "starter":
        files = [corpora / f"starter-{data['count']}.smi"]
        with one_maker(files[0], corpora) as missing:
            if missing:
                log.info("Making the starter molecules (%s) …", files[0])
                write_starter(files[0], data["count"], workers=data["prepare_workers"])
    else:
        files = input_files(str(data["path"]))
    options = {
        "policy": policy(data),
        "smiles_column": data["smiles_column"],
        "validation_fraction": data["validation_fraction"],
        "tokenizer": SelfiesTokenizer.load(Path(data["tokenizer"])) if data["tokenizer"] else None,
    }
    key = corpus_key(files, **options)
    target = corpora / f"{files[0].name.split('.')[0]}-{key}"
    with one_maker(target / MANIFEST, corpora):
        corpus = build_corpus(files, target, **options, workers=data["prepare_workers"])
    if data["verify"]:
        corpus.verify()
    return corpus


def open_or_prepare_structures(data: dict[str, Any], root: Path) -> FrameStore:
    """The frame store that a ``data`` configuration describes, prepared first where it is missing.

    It lies in ``<root>/<name>-<key>``, the key a hash of the files and the options.

    Raises:
        FileNotFoundError: ``data.path`` names nothing.
        ValueError: a file or an option is refused; the message says which and why.
    """
    from chemscale.structures.building import SplitPolicy, build_store, store_key

    files, reading, source = structure_source(data, root)
    policy = SplitPolicy(
        data["split_by"], data["validation_fraction"], data["test_fraction"], data["split_seed"]
    )
    key = store_key(files, {**reading, "split_policy": vars(policy)})
    target = root / f"{files[0].name.split('.')[0]}-{key}"
    with one_maker(target / "manifest.json", root):
        store = build_store(source, target, policy, name=files[0].name)
    if data["verify"]:
        store.verify()
    return store


def structure_source(data: dict[str, Any], root: Path) -> tuple[list[Path], dict[str, Any], Source]:
    """The files that a ``data`` configuration names, how they are read, and the source of their frames.

    Raises:
        FileNotFoundError: ``data.path`` names nothing. ValueError: a file or an option is refused.
    """
    from chemscale.structures.combined import open_sources
    from chemscale.structures.starter import StarterFrames, write_starter

    root.mkdir(parents=True, exist_ok=True)
    if data["source"] == "starter_structures":
        files = [root / f"starter-{data['count']}.npz"]
        with one_maker(files[0], root) as missing:
            if missing:
                log.info("Making the starter structures with GFN2-xTB (%s) …", files[0])
                write_starter(files[0], data["count"], workers=data["prepare_workers"])
    elif data["source"] == "structures":
        files = input_files(str(data["path"]))
    else:
        raise ValueError(f"data.source={data['source']!r}: a potential needs structures: data=structures.")
    reading = {key: data.get(key) for key in ("format", "level", "split", "units")}
    if data["source"] == "starter_structures":
        return files, reading, StarterFrames(files[0])
    return files, reading, open_sources(files, reading)


def lint_store(store: FrameStore, mode: str) -> list[Finding]:
    """What the linter finds in a store; looked for once and kept beside it.

    Errors and warnings are shown. `mode` is ``off`` (nothing is done), ``warn`` or ``strict``.

    Raises:
        ValueError: an unknown mode; or errors were found and the mode is ``strict``.
    """
    import json

    import numpy as np

    from chemscale.records import write_json
    from chemscale.structures.lint import Finding, lint, report
    from chemscale.structures.store import PARTS

    if mode == "off":
        return []
    if mode not in ("warn", "strict"):
        raise ValueError(f"lint={mode!r}: choose warn, strict or off (prepare also knows only).")
    kept = store.path / "lint.json"
    if kept.exists():
        findings = [Finding(**f) for f in json.loads(kept.read_text())]
    else:
        parts = {part: np.asarray(store.part(part)) for part in PARTS}
        findings = lint(
            {part: partial(store.blocks, frames) for part, frames in parts.items() if len(frames)}
        )
        write_json(kept, [vars(f) for f in findings])
    for line in report([f for f in findings if f.severity != "note"])[
        : sum(f.severity != "note" for f in findings)
    ]:
        log.warning("%s: %s", store.path.name, line)
    errors = [f for f in findings if f.severity == "error"]
    if errors and mode == "strict":
        raise ValueError(f"{store.path}: the linter found {len(errors)} errors, first: {errors[0].message}")
    return findings


def lint_source(source: Source) -> list[Finding]:
    """What the linter finds in files, nothing being made of them; published parts are told apart."""
    from chemscale.structures.lint import lint

    published = source.splits()
    if published is None:
        return lint({"train": source.blocks})
    return lint({part: partial(_rows_of, source, rows) for part, rows in published.items()})


def _rows_of(source: Source, rows: np.ndarray) -> Iterator[Block]:
    import numpy as np

    for block in source.blocks():
        chosen = np.isin(block.rows, rows)
        if chosen.any():
            yield block.select(chosen)


def policy(data: dict[str, Any]):
    """The standardisation policy of a ``data`` configuration."""
    from chemscale.molecules.standardize import Policy

    keys = ("stereo", "salts", "charge", "max_symbols", "max_heavy_atoms")
    return Policy(**{key: data[key] for key in keys})


def input_files(path: str) -> list[Path]:
    """Files named by a path, a folder or a pattern, in a stable order.

    Raises:
        FileNotFoundError: nothing is there.
    """
    given = Path(path).expanduser()
    if given.is_dir():
        files = [p for p in sorted(given.iterdir()) if p.is_file() and not p.name.startswith(".")]
    elif given.exists():
        files = [given]
    else:
        files = [Path(p) for p in sorted(glob.glob(str(given)))]
    if not files:
        raise FileNotFoundError(f"data.path={path}: no such file, folder or pattern.")
    return files


def show(corpus: Corpus) -> None:
    """What was kept, what was dropped and why."""
    counts = corpus.manifest["counts"]
    log.info("Corpus %s", corpus.path)
    log.info(
        "%s rows: %s training and %s validation molecules, %s tokens in the vocabulary.",
        *(f"{n:,}" for n in (counts["rows"], counts["train"], counts["validation"])),
        corpus.tokenizer.vocab_size,
    )
    for reason, number in sorted(counts["dropped"].items(), key=lambda item: -item[1]):
        log.info("  dropped %s: %s", f"{number:,}", reason)


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
    for note in manifest["notes"]:
        log.info("  %s", note)


def show_findings(findings: list[Finding]) -> None:
    """The linter's report; leaves with status 1 where it found errors."""
    from chemscale.structures.lint import report

    for line in report(findings) if findings else []:
        log.info("%s", line)
    if any(f.severity == "error" for f in findings):
        sys.exit(1)


if __name__ == "__main__":
    main()
