"""The prepared data of a point: opened, or made first where they are missing.

What makes data (RDKit, tblite, ASE, HDF5) is imported where it is needed: most runs find theirs prepared.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemscale.common.locks import make_once
from chemscale.common.sections import ConfigurationError, read_section
from chemscale.molecules.settings import MoleculeData
from chemscale.structures.settings import StructureData

if TYPE_CHECKING:
    from chemscale.molecules.corpus import Corpus
    from chemscale.molecules.preparation.standardize import Policy
    from chemscale.structures.blocks import Source
    from chemscale.structures.store import FrameStore

log = logging.getLogger(__name__)


STRUCTURE_SOURCES = ("structures", "starter_structures")


def read_molecule_data(values: Mapping[str, Any]) -> MoleculeData:
    """The section ``data`` of a language model.

    Raises:
        ConfigurationError: structures, or a key or value that makes no sense.
    """
    if values.get("source") in STRUCTURE_SOURCES:
        raise ConfigurationError(
            f"data.source={values['source']}: a language model needs molecules: data=smiles."
        )
    return read_section(MoleculeData, values, "data")


def read_structure_data(values: Mapping[str, Any]) -> StructureData:
    """The section ``data`` of a potential.

    Raises:
        ConfigurationError: molecules, or a key or value that makes no sense.
    """
    if values.get("source") not in STRUCTURE_SOURCES:
        raise ConfigurationError(
            f"data.source={values.get('source')!r}: a potential needs structures: data=structures."
        )
    return read_section(StructureData, values, "data")


def open_or_prepare(data: MoleculeData, corpora: Path) -> Corpus:
    """Open the corpus that a ``data`` section describes, prepared first where it is missing.

    It lies in ``<corpora>/<name>-<key>``: the key is a hash of the inputs, the policies and the tools, so a
    change of any of them makes another corpus and never overwrites one.

    Raises:
        FileNotFoundError: ``data.path`` names nothing.
        ValueError: a file or a policy is refused; the message says which and why.
    """
    from chemscale.molecules.corpus import MANIFEST
    from chemscale.molecules.preparation.build import build_corpus, corpus_key
    from chemscale.molecules.preparation.sources.files import find_files
    from chemscale.molecules.preparation.telling import log_files, log_sources
    from chemscale.molecules.starter.recombine import write_starter
    from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer

    corpora.mkdir(parents=True, exist_ok=True)
    if data.source == "starter":
        files = [corpora / f"starter-{data.count}.smi"]
        with make_once(files[0], corpora) as missing:
            if missing:
                log.info("Making the starter molecules (%s) …", files[0])
                write_starter(files[0], data.count, workers=data.prepare_workers)
    else:
        files, left_out = find_files(str(data.path))
        log_files(str(data.path), len(files), left_out)
    options: dict[str, Any] = {
        "policy": policy(data),
        "smiles_column": data.smiles_column,
        "delimiter": data.delimiter,
        "encoding": data.encoding,
        "validation_fraction": data.validation_fraction,
        "tokenizer": SelfiesTokenizer.load(Path(data.tokenizer)) if data.tokenizer else None,
    }
    key = corpus_key(files, **options)
    target = corpora / f"{files[0].name.split('.')[0]}-{key}"
    with make_once(target / MANIFEST, corpora):
        corpus = build_corpus(files, target, **options, workers=data.prepare_workers)
    if data.source != "starter":
        log_sources(corpus)
    if data.verify:
        corpus.verify()
    return corpus


def open_or_prepare_structures(data: StructureData, root: Path) -> FrameStore:
    """Open the frame store that a ``data`` section describes, prepared first where it is missing.

    It lies in ``<root>/<name>-<key>``, the key a hash of the files and the options.

    Raises:
        FileNotFoundError: ``data.path`` names nothing.
        ValueError: a file or an option is refused; the message says which and why.
    """
    from chemscale.structures.building import SplitPolicy, build_store, store_key

    files, source = structure_source(data, root)
    policy = SplitPolicy(data.split_by, data.validation_fraction, data.test_fraction, data.split_seed)
    key = store_key(files, {**data.reading, "split_policy": vars(policy)})
    target = root / f"{files[0].name.split('.')[0]}-{key}"
    with make_once(target / "manifest.json", root):
        store = build_store(source, target, policy, name=files[0].name)
    if data.verify:
        store.verify()
    return store


def structure_source(data: StructureData, root: Path) -> tuple[list[Path], Source]:
    """Open the files that a ``data`` section names.

    Returns:
        The files, and the source of their frames.

    Raises:
        FileNotFoundError: ``data.path`` names nothing.
        ValueError: a file or an option is refused.
    """
    from chemscale.structures.sources.combined import open_sources
    from chemscale.structures.sources.frame_files import frame_files, listed
    from chemscale.structures.starter import StarterFrames, write_starter

    root.mkdir(parents=True, exist_ok=True)
    if data.source == "starter_structures":
        files = [root / f"starter-{data.count}.npz"]
        with make_once(files[0], root) as missing:
            if missing:
                log.info("Making the starter structures with GFN2-xTB (%s) …", files[0])
                write_starter(files[0], data.count, workers=data.prepare_workers)
        return files, StarterFrames(files[0])
    files, left_out = frame_files(str(data.path), data.format)
    said = []
    if len(files) > 1 or left_out:
        said.append(f"Read from {data.path}: {listed([path.name for path in files])}.")
    if left_out:
        said.append(f"Left out: {listed(left_out)}.")
    return files, open_sources(files, data.reading, said)


def log_notes(store: FrameStore, before: str = "  ") -> None:
    """Say how the frames of a store were read, and what was not."""
    for note in store.manifest["notes"]:
        log.info("%s%s", before, note)


def policy(data: MoleculeData) -> Policy:
    """The standardisation policy of a ``data`` section."""
    from chemscale.molecules.preparation.standardize import Policy

    return Policy(data.stereo, data.salts, data.charge, data.max_symbols, data.max_heavy_atoms)
