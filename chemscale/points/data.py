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
from chemscale.fetching.places import refuse_missing
from chemscale.molecules.settings import MoleculeData
from chemscale.objects.address import address_of
from chemscale.objects.seals import fetch_folder, publish_folder
from chemscale.structures.settings import StructureData

if TYPE_CHECKING:
    from chemscale.molecules.corpus import Corpus
    from chemscale.molecules.overlap.exclusion import Exclusion
    from chemscale.molecules.preparation.sharing.work import Alone
    from chemscale.molecules.preparation.standardize import Policy
    from chemscale.structures.blocks import Source
    from chemscale.structures.overlap.exclusion import FrameExclusion
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


def open_or_prepare(data: MoleculeData, corpora: Path, work: Alone | None = None) -> Corpus:
    """Open the corpus that a ``data`` section describes, prepared first where it is missing.

    It lies in ``<corpora>/<name>-<key>``: the key is a hash of the inputs, the policies and the tools, so a
    change of any of them makes another corpus and never overwrites one.

    Args:
        data: the section.
        corpora: where prepared molecules are kept.
        work: of this process, where others have a part in preparing it; None where they wait.

    Raises:
        FileNotFoundError: ``data.path`` names nothing.
        ValueError: a file or a policy is refused; the message says which and why.
    """
    from chemscale.molecules.corpus import MANIFEST
    from chemscale.molecules.preparation.build import build_corpus, corpus_key
    from chemscale.molecules.preparation.conditions.request import request_conditions
    from chemscale.molecules.preparation.sharing.work import Shared
    from chemscale.molecules.tokenizers.opening import load_tokenizer

    corpora.mkdir(parents=True, exist_ok=True)
    files = _molecule_files(data, corpora)
    options: dict[str, Any] = {
        "policy": policy(data),
        "smiles_column": data.smiles_column,
        "delimiter": data.delimiter,
        "encoding": data.encoding,
        "validation_fraction": data.validation_fraction,
        "tokenizer": load_tokenizer(Path(data.tokenizer).expanduser()) if data.tokenizer else None,
        "common_to": data.common_to or (),
    }
    tokenizer = options["tokenizer"]
    options["notation"] = data.notation or (tokenizer.representation.notation if tokenizer else "selfies")
    options["conditions"] = request_conditions(data.conditions, data.condition_bins, tokenizer)
    options["exclude"] = exclusion_of(data)
    key = corpus_key(files, **options)
    target = corpora / f"{files[0].name.split('.')[0]}-{key}"
    with make_once(target / MANIFEST, corpora, shared=isinstance(work, Shared)) as missing:
        missing = missing and not fetch_folder(target, target.name)
        if missing and tokenizer and not tokenizer.representation.stereo and data.stereo == "keep":
            log.warning(
                "data.tokenizer=%s has no symbols of stereo: molecules that have any are left out. "
                "data.stereo=strip keeps them without.",
                data.tokenizer,
            )
        corpus = build_corpus(files, target, **options, workers=data.prepare_workers, work=work)
    publish(target)
    if data.verify:
        corpus.verify()
    return corpus


def _molecule_files(data: MoleculeData, corpora: Path) -> list[Path]:
    """The files that a ``data`` section names; those of starter molecules are made first."""
    from chemscale.molecules.preparation.conditions.request import refuse_columns
    from chemscale.molecules.preparation.sources.files import find_files
    from chemscale.molecules.preparation.telling import log_files
    from chemscale.molecules.starter.recombine import write_starter

    if data.source != "starter":
        refuse_missing(str(data.path))
        files, left_out = find_files(str(data.path))
        log_files(str(data.path), len(files), left_out)
        return files
    refuse_columns(data.conditions or ())
    of = f"-of-{data.pieces}" if data.pieces else ""
    file = corpora / f"starter-{data.count}{of}.smi"
    with make_once(file, corpora) as missing:
        if missing:
            log.info("Making the starter molecules (%s) …", file)
            write_starter(file, data.count, pieces=data.pieces, workers=data.prepare_workers)
    return [file]


def exclusion_of(data: MoleculeData) -> Exclusion | None:
    """Sets whose molecules are left out; None for none.

    Raises:
        FileNotFoundError: a name means nothing.
        ValueError: a set or a level is refused.
    """
    if not data.excluded:
        return None
    from chemscale.molecules.overlap.exclusion import Exclusion
    from chemscale.points.overlap.named import molecules_named

    sets = [molecules_named(name, "data.exclude", data.exclude_column) for name in data.excluded]
    return Exclusion.of(tuple(sets), "parent" if data.exclude_level is None else data.exclude_level)


def frame_exclusion_of(data: StructureData) -> FrameExclusion | None:
    """Sets whose frames are left out; None for none.

    Raises:
        FileNotFoundError: a name means nothing.
        ValueError: a set or a level is refused.
    """
    if not data.excluded:
        return None
    from chemscale.points.overlap.frames import frames_named
    from chemscale.structures.overlap.exclusion import FrameExclusion

    sets = [frames_named(name, "data.exclude") for name in data.excluded]
    return FrameExclusion(sets, "identical" if data.exclude_level is None else data.exclude_level)


def open_or_prepare_structures(data: StructureData, root: Path) -> FrameStore:
    """Open the frame store that a ``data`` section describes, prepared first where it is missing.

    It lies in ``<root>/<name>-<key>``, the key a hash of the files and the options.

    Raises:
        FileNotFoundError: ``data.path`` names nothing.
        ValueError: a file or an option is refused; the message says which and why.
    """
    from chemscale.structures.preparation.building import SplitPolicy, build_store, store_key

    policy = SplitPolicy(data.split_by, data.validation_fraction, data.test_fraction, data.split_seed)
    parts, source = structure_source(data, root)
    files = [file for part in parts.values() for file in part]
    options = {**data.reading, "split_policy": vars(policy)}
    if len(parts) > 1:
        options["files"] = {part: len(members) for part, members in parts.items()}
    if len(files) > len(parts):  # names of frames begin with those of the files
        options["names"] = [file.name for file in files]
    subtract = data.dispersion
    if subtract is not None:
        options["subtract"] = subtract.as_key()
    exclude = frame_exclusion_of(data)
    if exclude is not None:
        options["exclude"] = exclude.content()
    key = store_key(files, options, believed=not data.verify)
    target = root / f"{files[0].name.split('.')[0]}-{key}"
    with make_once(target / "manifest.json", root) as missing:
        if missing:
            fetch_folder(target, target.name)
        store = build_store(source, target, policy, name=files[0].name, subtract=subtract, exclude=exclude)
    publish(target)
    if data.verify:
        store.verify()
    return store


def publish(prepared: Path) -> None:
    """Write what is prepared to the address whose working copy it is, unless it is there; of a path nothing.

    Args:
        prepared: the folder of a corpus or a store.

    Raises:
        StoreError: the object store does not take it. What is prepared stays: the same command goes on.
    """
    if address_of(prepared) is None:
        return
    from chemscale.training.distributed.ranks import inside_job  # loads torch, which prepare may do without

    if not inside_job() and publish_folder(prepared, prepared.name):
        log.info("Written to %s.", address_of(prepared))


def structure_source(data: StructureData, root: Path) -> tuple[dict[str, list[Path]], Source]:
    """Open the files that a ``data`` section names.

    Returns:
        The files of each part that has some of its own, those of ``data.path`` as "train"; and the source of
        all their frames.

    Raises:
        FileNotFoundError: ``data.path``, ``data.validation_path`` or ``data.test_path`` names nothing.
        ValueError: a file or an option is refused.
    """
    from chemscale.structures.preparation.separate_files import SeparateFiles
    from chemscale.structures.sources.combined import open_sources
    from chemscale.structures.sources.starter import LEVEL, StarterFrames, write_starter

    root.mkdir(parents=True, exist_ok=True)
    if data.source == "starter_structures":
        level = "" if data.method == LEVEL else f"-{data.method}"
        files = [root / f"starter-{data.count}{level}.npz"]
        with make_once(files[0], root) as missing:
            if missing:
                log.info("Making the starter structures with %s (%s) …", data.method, files[0])
                write_starter(files[0], data.count, workers=data.prepare_workers, level=data.method)
        return {"train": files}, StarterFrames(files[0], data.method)
    if data.split is not None and data.held_out_paths:
        raise ConfigurationError(
            f"data.split={data.split} takes the parts that were published; it cannot go with "
            f"{' and '.join(f'data.{part}_path' for part in data.held_out_paths)}. Leave one of them out."
        )
    parts, said = structure_files(data)
    sources = {part: open_sources(files, data.reading, said[part]) for part, files in parts.items()}
    if len(parts) == 1:
        return parts, sources["train"]
    return parts, SeparateFiles(sources)


def structure_files(data: StructureData) -> tuple[dict[str, list[Path]], dict[str, list[str]]]:
    """Files of each part; those that are held out are left out of the folder or pattern of ``data.path``.

    Returns:
        The files that are read, and sentences on them and on what was left out, both by part.

    Raises:
        FileNotFoundError: a path names nothing.
        ConfigurationError: a file is in two parts, or none is left to train on.
    """
    from chemscale.structures.sources.frame_files import frame_files, listed

    keys = {"train": "data.path", **{part: f"data.{part}_path" for part in data.held_out_paths}}
    paths = {"train": str(data.path), **data.held_out_paths}
    for part, path in paths.items():
        refuse_missing(path, keys[part])
    found = {part: frame_files(path, data.format, keys[part]) for part, path in paths.items()}
    taken: dict[Path, str] = {}
    for part in data.held_out_paths:
        for file in found[part][0]:
            other = taken.setdefault(file.resolve(), part)
            if other != part:
                raise ConfigurationError(f"{file} is in {keys[other]} and in {keys[part]}: choose one.")
    parts, said = {}, {}
    for part, (files, left_out) in found.items():
        if part == "train":
            left_out += [f"{f.name} ({keys[taken[f.resolve()]]})" for f in files if f.resolve() in taken]
            files = [file for file in files if file.resolve() not in taken]
        if not files:
            others = " and ".join(keys[other] for other in data.held_out_paths)
            raise ConfigurationError(
                f"data.path={data.path}: {others} holds it out; none is left to train on."
            )
        parts[part] = files
        named = len(files) > 1 or left_out
        folder = Path(paths[part]).expanduser()
        shown = [str(f.relative_to(folder)) if folder in f.parents else f.name for f in files]
        said[part] = [f"Read from {paths[part]}: {listed(shown)}."] if named else []
        said[part] += [f"Left out: {listed(left_out)}."] if left_out else []
    return parts, said


def log_notes(store: FrameStore, before: str = "  ") -> None:
    """Say how the frames of a store were read, and what was not."""
    for note in store.manifest["notes"]:
        log.info("%s%s", before, note)


def policy(data: MoleculeData) -> Policy:
    """The standardisation policy of a ``data`` section."""
    from chemscale.molecules.preparation.standardize import Policy

    return Policy(data.stereo, data.salts, data.charge, data.max_symbols, data.max_heavy_atoms)
