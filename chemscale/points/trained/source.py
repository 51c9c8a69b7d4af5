"""What an export begins with: a model folder made from a checkpoint, a saved folder or a download."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.models.chemgpt_hf import WeightsError
from chemscale.models.formats.published import keep_rows, load_published
from chemscale.models.potentials import FORMAT, load_potential
from chemscale.molecules.loading import load_trained, save_trained
from chemscale.molecules.tokenizers.published import ChemGPTTokenizer
from chemscale.points.trained.checkpoint import ExportError, export_model
from chemscale.points.trained.provenance import facts_of_folder, facts_of_run, published_facts
from chemscale.records import RECORD_NAME, RunRecord, find_run

ROWS = ("keep", "prune")
NAMES = ("published", "selfies2")
CARRIED = (".json", ".safetensors", ".txt", ".md")
"""Endings of the files of a model folder that belong to the model."""


@dataclass(frozen=True)
class Source:
    """A model folder that stands ready, and what is known of it.

    Args:
        folder: with the model as a Hugging Face folder, or a potential's.
        name: for the card.
        step: of the checkpoint; None for a folder.
        potential: whether it is one.
        facts: content of ``provenance.json``.
        notes: what a person should be told.
    """

    folder: Path
    name: str
    step: int | None
    potential: bool
    facts: dict[str, Any]
    notes: list[str]


@dataclass(frozen=True)
class Repair:
    """How a download is repaired.

    Args:
        rows: keep | prune, what becomes of word pieces in the vocabulary.
        names: published | selfies2, of the symbols.

    Raises:
        ExportError: another word.
    """

    rows: str = "keep"
    names: str = "published"

    def __post_init__(self) -> None:
        if self.rows not in ROWS:
            raise ExportError(f"--rows {self.rows}: choose {' or '.join(ROWS)}.")
        if self.names not in NAMES:
            raise ExportError(f"--names {self.names}: choose {' or '.join(NAMES)}.")


def from_run(path: Path, step: int | None, into: Path) -> Source:
    """Stage a run, a checkpoint of it, or a saved model folder.

    Args:
        path: a point, RUNS/SWEEP/NAME, or a folder with a model.
        step: of a checkpoint; None for the newest.
        into: folder that is made.

    Raises:
        ExportError: there is no model, or no such checkpoint.
        ValueError: what the packages refuse that read it.
    """
    run = find_run(path)
    beside = run.name == "model" and (run.parent / RECORD_NAME).exists()
    if beside and step is None and run.is_dir():
        run = run.parent  # its record says more than the folder
    if not run.is_dir():
        raise ExportError(
            f"{path}: no such run or folder. Give a run's directory, RUNS/SWEEP/NAME or a model."
        )
    if not (run / RECORD_NAME).exists():
        if step is not None:
            raise ExportError(f"--step {step}: {path} is a saved model, not a run with checkpoints.")
        return _from_folder(run, into)
    record = RunRecord.load(run)
    finished = (run / "model").is_dir() and not any((run / "checkpoints").glob("step-*"))
    if step is None and finished:
        shutil.copytree(run / "model", into, ignore=_not_of_the_model)
        found = record.data.steps
    else:
        record, found = export_model(run, into, step)
    facts = facts_of_run(run, record, found, into)
    return Source(into, record.name, found, record.family != "chemgpt", facts, [])


def _from_folder(folder: Path, into: Path) -> Source:
    potential = is_potential(folder)
    if not potential:
        load_trained(folder, "cpu")  # refuses what is no model, or has another tokenizer
    shutil.copytree(folder, into, ignore=_not_of_the_model)
    facts = facts_of_folder(into)
    name = str(facts.get("name") or folder.resolve().name)
    if potential:
        load_potential(into)
    return Source(into, name, None, potential, facts, [])


def is_potential(folder: Path) -> bool:
    """Whether a model folder holds a potential and no language model.

    Args:
        folder: of the model.
    """
    try:
        return json.loads((folder / "config.json").read_text()).get("format") == FORMAT
    except (OSError, ValueError, AttributeError):
        return False


def _not_of_the_model(_: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(CARRIED) or name.startswith(".")]


def from_download(folder: Path, repair: Repair, into: Path) -> Source:
    """Repair a downloaded ChemGPT: weights without pickles, special tokens registered, ids in the vocabulary.

    Args:
        folder: as downloaded: ``config.json``, weights, ``tokenizer.json``.
        repair: how.
        into: folder that is made.

    Raises:
        TokenizerError: its tokenizer is not one published with ChemGPT.
        WeightsError: its weights cannot be read, or do not fit the tokenizer.
    """
    if not folder.is_dir():
        raise ExportError(
            f"{folder}: no such folder. Download a model first, for example with huggingface_hub's "
            "hf download ncfrey/ChemGPT-4.7M --local-dir FOLDER; names on a hub are not fetched."
        )
    tokenizer = ChemGPTTokenizer.load(folder)
    model = load_published(folder)
    whole, rows = tokenizer.vocab_size, model.config.vocab_size
    if rows < whole:
        raise WeightsError(
            f"{folder}: the embedding has {rows} rows, the tokenizer {whole} tokens. They are of different "
            "models: download both again."
        )
    line = tokenizer.representation.selfies_version
    notes = [f"A published ChemGPT: {len(tokenizer.symbols)} symbols of SELFIES {line}, no stereo."]
    kept = list(range(whole))
    if rows > whole:
        notes.append(f"{rows - whole} rows beyond the vocabulary were removed: no token has their ids.")
    pieces = whole - len(tokenizer.symbols) - 5
    if repair.rows == "prune":
        tokenizer, kept = tokenizer.pruned()
        notes.append(f"{pieces} rows of word pieces were removed; {len(kept)} tokens are left.")
    else:
        notes.append(f"{pieces} rows of word pieces are kept, which a model may still draw (--rows prune).")
    if repair.names == "selfies2" and line == "1":
        tokenizer = tokenizer.in_version_2()
        notes.append("Symbols have the names of SELFIES 2.")
    ids = {"pad_id": tokenizer.pad_id, "bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id}
    repaired = keep_rows(model, kept, ids)
    known = json.loads((folder / "config.json").read_text()).get("chemscale") or {}
    name = str(known.get("name") or folder.resolve().name)  # a folder repaired before keeps its name
    save_trained(repaired, tokenizer, into, name=name, block=model.config.max_positions)
    facts = published_facts(name, into, rows=repair.rows, removed=rows - len(kept), notes=notes)
    return Source(into, name, None, False, facts, notes)
