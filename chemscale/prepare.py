"""Molecules to a corpus: ``python -m chemscale.prepare data=smiles data.path=FILE``."""

from __future__ import annotations

import glob
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from omegaconf import DictConfig, OmegaConf

from chemscale.errors import CONFIG_DIRECTORY, one_paragraph, show_logs

if TYPE_CHECKING:
    from chemscale.molecules.corpus import Corpus
    from chemscale.structures.store import FrameStore

log = logging.getLogger("chemscale.prepare")  # run with -m, __name__ is __main__


@hydra.main(config_path=str(CONFIG_DIRECTORY), config_name="prepare", version_base=None)
def hydra_main(cfg: DictConfig) -> None:
    data = OmegaConf.to_container(cfg.data, resolve=True, throw_on_missing=True)
    corpus = open_or_prepare(cast(dict[str, Any], data), Path(cfg.corpora))
    show(corpus)


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
    from chemscale.molecules.starter import write_starter
    from chemscale.molecules.tokenizer import SelfiesTokenizer

    corpora.mkdir(parents=True, exist_ok=True)
    if data["source"] == "starter":
        files = [corpora / f"starter-{data['count']}.smi"]
        if not files[0].exists():
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
    from chemscale.structures.combined import open_sources
    from chemscale.structures.starter import StarterFrames, write_starter

    root.mkdir(parents=True, exist_ok=True)
    if data["source"] == "starter_structures":
        files = [root / f"starter-{data['count']}.npz"]
        if not files[0].exists():
            log.info("Making the starter structures with GFN2-xTB (%s) …", files[0])
            write_starter(files[0], data["count"], workers=data["prepare_workers"])
    elif data["source"] == "structures":
        files = input_files(str(data["path"]))
    else:
        raise ValueError(f"data.source={data['source']!r}: a potential needs structures: data=structures.")
    reading = {key: data.get(key) for key in ("format", "level", "split", "units")}
    policy = SplitPolicy(
        data["split_by"], data["validation_fraction"], data["test_fraction"], data["split_seed"]
    )
    target = (
        root / f"{files[0].name.split('.')[0]}-{store_key(files, {**reading, 'split_policy': vars(policy)})}"
    )
    starter = data["source"] == "starter_structures"
    source = StarterFrames(files[0]) if starter else open_sources(files, reading)
    store = build_store(source, target, policy, name=files[0].name)
    if data["verify"]:
        store.verify()
    return store


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


if __name__ == "__main__":
    main()
