"""A module with the shape, vocabulary and elements of a run, without its data: weights are read into it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from chemscale.models.adaptation.lora import merged
from chemscale.models.chemgpt import ChemGPT
from chemscale.models.potentials import build, read_config, save_potential
from chemscale.molecules.corpus import MANIFEST, Corpus
from chemscale.molecules.loading import save_trained
from chemscale.molecules.tokenizers.opening import AnyTokenizer, load_tokenizer
from chemscale.objects.address import local_place
from chemscale.points.base import DESCRIPTION, DescriptionError, check_description
from chemscale.points.build import read_point
from chemscale.points.data import read_molecule_data
from chemscale.points.language import LanguagePoint, model_of
from chemscale.points.parents.language import LanguageBeginning
from chemscale.points.parents.potential import PotentialBeginning
from chemscale.points.potential import PotentialPoint
from chemscale.records import RunRecord
from chemscale.tasks.language_model import LanguageModel
from chemscale.tasks.losses import EnergyForceLoss
from chemscale.tasks.optimisation import AdamW, Schedule
from chemscale.tasks.potential import InteratomicPotential


@dataclass(frozen=True)
class Rebuilt:
    """A model that waits for its weights.

    Args:
        module: with the names and shapes that checkpoints of the run have.
        save: writes it into an empty folder.
    """

    module: Any
    save: Callable[[Path], None]


def rebuild(run: Path, record: RunRecord) -> Rebuilt:
    """The model of a run with fresh weights.

    Args:
        run: its directory.
        record: of the run.

    Raises:
        DescriptionError: what the weights belong to is not there any more, or is another run's.
    """
    return _language_model(run, record) if record.family == "chemgpt" else _potential(run, record)


def _language_model(run: Path, record: RunRecord) -> Rebuilt:
    tokenizer = vocabulary_of(run, record)
    model = ChemGPT(model_of(record.config["model"], tokenizer))
    LanguageBeginning.adapted_like(model, record.config["model"])
    module = LanguageModel(model, AdamW(1e-3), Schedule(), record.planned_steps)
    block = read_molecule_data(record.config["data"]).block

    def save(folder: Path) -> None:
        save_trained(merged(module.model), tokenizer, folder, name=record.name, block=block)

    return Rebuilt(module, save)


def vocabulary_of(run: Path, record: RunRecord) -> AnyTokenizer:
    """The tokenizer that a run was trained with, known by its hash.

    Runs of chemscale 0.1.0 have one beside their finished model only; of others the corpus is looked for,
    by the hash of the data and not by the name of the file, which may hold other molecules now.

    Args:
        run: its directory.
        record: of the run.

    Raises:
        DescriptionError: there is none, or another one.
    """
    folder = run / DESCRIPTION
    if folder.is_dir():
        belongs = check_description(folder, record.data_hash)
        tokenizer = load_tokenizer(folder)
        if tokenizer.hash != belongs.get("vocabulary"):
            raise DescriptionError(
                f"{folder}: the vocabulary there is not the one that {run} began with. Put back the files of "
                "this run."
            )
        return tokenizer
    if (run / "model" / "tokenizer.json").is_file():
        return load_tokenizer(run / "model")
    for manifest in sorted(local_place(record.config["corpora"]).glob(f"*/{MANIFEST}")):
        if json.loads(manifest.read_text()).get("corpus_hash") == record.data_hash:
            return load_tokenizer(manifest.parent)
    point = _prepared_again(run, record)
    assert isinstance(point, LanguagePoint)
    corpus: Corpus = point.corpus
    return corpus.tokenizer


def _potential(run: Path, record: RunRecord) -> Rebuilt:
    header = header_of(run, record)
    potential = build(
        read_config(header["model"]), tuple(header["elements"]), neighbours=header["neighbours"]
    )
    PotentialBeginning.adapted_like(potential, record.config["model"])
    loss = EnergyForceLoss(**record.config["loss"])
    module = InteratomicPotential(
        potential, loss, AdamW(1e-3), Schedule(), record.planned_steps, ema=record.config.get("ema")
    )
    origin: dict[str, Any] = {key: header[key] for key in ("data", "identity") if key in header}

    def save(folder: Path) -> None:
        save_potential(merged(module.best_model), folder, origin)

    return Rebuilt(module, save)


def header_of(run: Path, record: RunRecord) -> dict[str, Any]:
    """Shape and elements of the potential of a run; references and scale stand in its checkpoints.

    Args:
        run: its directory.
        record: of the run.

    Raises:
        DescriptionError: they are not there any more, or are another run's.
    """
    folder = run / DESCRIPTION
    if folder.is_dir():
        belongs = check_description(folder, record.data_hash)
        header = json.loads((folder / "config.json").read_text())
        if header["elements"] != belongs.get("elements"):
            raise DescriptionError(f"{folder}: its files are of several runs. Put back those of this run.")
        return header
    if (run / "model" / "config.json").is_file():
        return json.loads((run / "model" / "config.json").read_text())
    point = _prepared_again(run, record)
    assert isinstance(point, PotentialPoint)
    return point.build_potential().header | point.origin | {"identity": record.identity}


def _prepared_again(run: Path, record: RunRecord) -> LanguagePoint | PotentialPoint:
    """The point of a record as one process on a CPU sees it, where its data are what they were."""
    config = OmegaConf.create(record.config)
    here = {
        "precision": "32",
        "trainer": {"accelerator": "cpu", "precision": "32", "compile": False},
        "strategy": {"name": "single", "offload": "none", "elastic": False, "hang_minutes": 30},
        "launcher": {"name": "local", "nodes": 1, "gpus_per_node": 1},
        "batch": {"per_gpu": None},
    }
    point = read_point(OmegaConf.merge(config, here), recorded=True)  # type: ignore[arg-type]
    if point.data_hash != record.data_hash:
        raise DescriptionError(
            f"{run} was trained on other data than data.path={record.config['data'].get('path')} holds now, "
            "and its prepared data are gone: its weights would get a vocabulary or elements that are not "
            "theirs. Put back the file as it was."
        )
    return point  # type: ignore[return-value]
