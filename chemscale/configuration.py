"""From a composed configuration to the objects it describes, with errors that name the key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from chemscale.models.chemgpt import ChemGPTConfig
from chemscale.molecules.corpus import Corpus
from chemscale.molecules.data_module import BatchShape, MoleculeDataModule
from chemscale.prepare import open_or_prepare
from chemscale.sweeps.identity import identity
from chemscale.tasks.optimisation import AdamW, Schedule
from chemscale.training.budget import Budget, Epoch
from chemscale.training.keeper import Cadence

PRECISIONS = ("32", "bf16-mixed", "16-mixed")


class ConfigurationError(ValueError):
    """A configuration that cannot be run; the message names the key and the way out."""


@dataclass(frozen=True)
class Point:
    """Everything that one training run is made of, decided before anything is spent."""

    config: dict[str, Any]
    identity: str
    directory: Path
    name: str
    corpus: Corpus
    data: MoleculeDataModule
    model: ChemGPTConfig
    optimizer: AdamW
    schedule: Schedule
    cadence: Cadence
    steps: int
    epoch: Epoch
    precision: str


def read_point(cfg: DictConfig, overrides: Sequence[str] = ()) -> Point:
    """Check a configuration and build what it describes; prepares the corpus where it is missing.

    Args:
        overrides: the command line, whose budget unit wins over one from a file.

    Raises:
        ConfigurationError, or the ValueError of the room that refuses its part.
    """
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    config["budget"] = choose_budget(config["budget"], overrides)
    if config["model"].get("family") != "chemgpt":
        raise ConfigurationError(f"model.family={config['model'].get('family')!r}: only chemgpt is known.")
    corpus = _corpus(_frozen(config["data"]), config["corpora"])
    shape = BatchShape(config["batch"]["tokens"], config["data"]["block"], config["batch"]["accumulate"])
    model = _model(config["model"], corpus)
    if shape.block > model.max_positions:
        raise ConfigurationError(
            f"data.block={shape.block} is longer than model.max_positions={model.max_positions}."
        )
    data = _data_module(corpus, shape, config)
    epoch = _epoch(data, model)
    name = f"{config['model']['family']}-w{model.width}-l{model.layers}"
    point_id = identity(config, corpus.hash)
    trainer = config["trainer"]
    return Point(
        config=config,
        identity=point_id,
        directory=Path(config["runs"]) / config["sweep_name"] / point_id,
        name=name,
        corpus=corpus,
        data=data,
        model=model,
        optimizer=_section(AdamW, config["optimizer"], "optimizer"),
        schedule=_section(Schedule, config["schedule"], "schedule"),
        cadence=Cadence(
            **{
                k: trainer[k]
                for k in ("log_every", "validate_every", "checkpoint_seconds", "checkpoint_steps")
            }
        ),
        steps=Budget.from_mapping(config["budget"]).steps(epoch, shape.blocks(1) * shape.accumulate),
        epoch=epoch,
        precision=_precision(trainer),
    )


def choose_budget(budget: dict[str, float | None], overrides: Sequence[str]) -> dict[str, float | None]:
    """A unit named on the command line wins: the others are set aside."""
    named = [o.split("=", 1)[0].split(".", 1)[1] for o in overrides if o.lstrip("+").startswith("budget.")]
    set_here = [unit for unit in named if budget.get(unit) is not None]
    if set_here:
        return {unit: (value if unit in set_here else None) for unit, value in budget.items()}
    return dict(budget)


def _section(cls: type, values: dict[str, Any], name: str) -> Any:
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigurationError(f"{name}: {error}. See conf/{name}/ for the keys it has.") from None


def _model(values: dict[str, Any], corpus: Corpus) -> ChemGPTConfig:
    tokenizer = corpus.tokenizer
    numbers = {key: value for key, value in values.items() if key != "family"}
    ids = {"pad_id": tokenizer.pad_id, "bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id}
    return _section(ChemGPTConfig, {"vocab_size": tokenizer.vocab_size, **numbers, **ids}, "model")


def _precision(trainer: dict[str, Any]) -> str:
    precision = str(trainer["precision"])
    if precision not in PRECISIONS:
        raise ConfigurationError(f"trainer.precision={precision}: choose one of {', '.join(PRECISIONS)}.")
    import torch

    on_gpu = trainer["accelerator"] != "cpu" and torch.cuda.is_available()
    if precision == "16-mixed" and not on_gpu:
        raise ConfigurationError("trainer.precision=16-mixed needs a GPU: use bf16-mixed or 32 on a CPU.")
    return precision


def _frozen(values: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((k, tuple(v) if isinstance(v, list) else v) for k, v in values.items()))


@lru_cache(maxsize=8)
def _corpus(data: tuple[tuple[str, Any], ...], corpora: str) -> Corpus:
    return open_or_prepare(dict(data), Path(corpora))


_MODULES: dict[tuple, MoleculeDataModule] = {}


def _data_module(corpus: Corpus, shape: BatchShape, config: dict[str, Any]) -> MoleculeDataModule:
    """Points of a sweep that see the same molecules in the same order share the plan of their blocks."""
    data = config["data"]
    key = (
        corpus.hash,
        shape,
        config["seed"],
        data["molecules"],
        data["validation_molecules"],
        data["workers"],
    )
    if key not in _MODULES:
        _MODULES[key] = MoleculeDataModule(
            corpus,
            shape,
            seed=config["seed"],
            molecules=data["molecules"],
            validation_molecules=data["validation_molecules"],
            workers=data["workers"],
        )
    return _MODULES[key]


def _epoch(data: MoleculeDataModule, model: ChemGPTConfig) -> Epoch:
    import numpy as np

    lengths = np.asarray(data.train.lengths).astype(np.int64) + 1
    return Epoch(
        blocks=data.plan.blocks_of_epoch(),
        tokens=data.unique_tokens,
        molecules=len(lengths),
        flops=3.0 * model.forward_flops(int(lengths.sum()), int((lengths**2).sum())),
    )
