"""A ChemGPT on a molecule corpus."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.molecules.corpus import Corpus
from chemscale.molecules.data_module import BatchShape, MoleculeDataModule
from chemscale.points.base import ConfigurationError, Point, device_of, section, shared_fields
from chemscale.prepare import open_or_prepare
from chemscale.records import Loss, RunRecord
from chemscale.tasks.language_model import LanguageModel
from chemscale.tasks.optimisation import Plateau, Schedule
from chemscale.training.budget import Epoch
from chemscale.training.trainer import set_threads

PROBE_FLOPS = 3e11
"""A trial step is run on as many molecules as cost about this much: well under a second or two."""


@dataclass(frozen=True)
class LanguagePoint(Point):
    """One ChemGPT."""

    data: MoleculeDataModule
    corpus: Corpus
    model: ChemGPTConfig

    unit = "tokens"

    @classmethod
    def read(cls, config: dict[str, Any]) -> LanguagePoint:
        """Check a resolved configuration and build what it describes; prepares a missing corpus.

        Raises:
            ConfigurationError, or the ValueError of the room that refuses its part.
        """
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
        common = shared_fields(config, corpus.hash, name, epoch, shape.blocks(1) * shape.accumulate)
        if isinstance(common["schedule"], Plateau):
            raise ConfigurationError("schedule=plateau is for potentials: choose wsd, cosine or constant.")
        return cls(**common, corpus=corpus, data=data, model=model)

    @property
    def data_hash(self) -> str:
        return self.corpus.hash

    def parameter_counts(self) -> dict[str, int]:
        return self.model.parameter_counts()

    def build_module(self) -> LanguageModel:
        schedule = cast(Schedule, self.schedule)  # read() refuses the other kind
        return LanguageModel(ChemGPT(self.model), self.optimizer, schedule, self.steps)

    def batch_flops(self, batch: Any) -> float:
        return 3.0 * self.model.forward_flops(batch.tokens.numel(), batch.pairs)

    def describe_data(self) -> str:
        counts = self.corpus.manifest["counts"]
        return (
            f"Corpus {self.corpus.path.name}: {counts['train']:,} training and {counts['validation']:,} "
            f"validation molecules, {self.corpus.tokenizer.vocab_size} tokens in the vocabulary."
        )

    def note_unique(self, record: RunRecord) -> None:
        record.data.unique_tokens = self.epoch.amounts["tokens"]
        record.data.unique_molecules = self.epoch.amounts["molecules"]

    def amount(self, unit: str) -> float:
        share = self.epoch.in_units(unit) / self.epoch.cuts
        return self.steps * self.config["batch"]["tokens"] / self.config["data"]["block"] * share

    def memory_gib(self) -> float:
        """Weights, gradients and two Adam moments in float32, and the activations that backward needs."""
        model, batch = self.model, self.config["batch"]
        tokens = batch["tokens"] / batch["accumulate"]
        longest = int(self.data.train.lengths.max()) + 1
        per_token = model.layers * (20 * model.width + 2 * model.heads * longest) + 3 * model.vocab_size
        bytes_per = 2 if self.precision != "32" else 4
        return (16 * model.parameter_counts()["all"] + bytes_per * tokens * per_token) / 2**30

    def flops_per_second(self) -> float:
        set_threads(self.config["trainer"]["threads"])
        device = device_of(self.config)
        state = torch.get_rng_state()
        module = self.build_module().to(device)
        torch.set_rng_state(state)
        per_token = self.epoch.flops / self.epoch.amounts["tokens"]
        blocks = max(1, round(PROBE_FLOPS / (per_token * self.data.shape.block)))
        batches = self.data.training_batches()
        batches.blocks = min(blocks, batches.blocks)
        batch = batches[0].to(device)
        seconds = float("inf")
        for _ in range(2):
            started = time.perf_counter()
            module.nll(batch).mean().backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds = min(seconds, time.perf_counter() - started)
        return per_token * batch.tokens.numel() / seconds

    def save_model(self, module: LanguageModel) -> None:
        """The weights as a Hugging Face folder with its tokenizer."""
        from chemscale.models.chemgpt_hf import save_pretrained

        partial = self.directory / "model.part"
        shutil.rmtree(partial, ignore_errors=True)
        save_pretrained(module.model, partial, max_length=self.config["data"]["block"])
        self.corpus.tokenizer.save(partial)
        shutil.rmtree(self.model_folder, ignore_errors=True)
        partial.rename(self.model_folder)

    @staticmethod
    def summary(loss: Loss) -> str:
        values = [loss.values[f"nats_per_{unit}"] for unit in ("token", "molecule", "heavy_atom")]
        return "{:.4f} nats/token, {:.2f} nats/molecule, {:.4f} nats/heavy atom".format(*values)


def _model(values: dict[str, Any], corpus: Corpus) -> ChemGPTConfig:
    tokenizer = corpus.tokenizer
    numbers = {key: value for key, value in values.items() if key != "family"}
    ids = {"pad_id": tokenizer.pad_id, "bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id}
    return section(ChemGPTConfig, {"vocab_size": tokenizer.vocab_size, **numbers, **ids}, "model")


def _frozen(values: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((k, tuple(v) if isinstance(v, list) else v) for k, v in values.items()))


@lru_cache(maxsize=8)
def _corpus(data: tuple[tuple[str, Any], ...], corpora: str) -> Corpus:
    return open_or_prepare(dict(data), Path(corpora))


_MODULES: dict[tuple, MoleculeDataModule] = {}


def _data_module(corpus: Corpus, shape: BatchShape, config: dict[str, Any]) -> MoleculeDataModule:
    """Points of a sweep that see the same molecules in the same order share the plan of their blocks."""
    data = config["data"]
    wanted = {key: data[key] for key in ("molecules", "validation_molecules", "workers")}
    key = (corpus.hash, shape, config["seed"], *wanted.values())
    if key not in _MODULES:
        _MODULES[key] = MoleculeDataModule(corpus, shape, seed=config["seed"], **wanted)
    return _MODULES[key]


def _epoch(data: MoleculeDataModule, model: ChemGPTConfig) -> Epoch:
    lengths = np.asarray(data.train.lengths).astype(np.int64) + 1
    return Epoch(
        cuts=data.plan.blocks_of_epoch(),
        amounts={"tokens": data.unique_tokens, "molecules": len(lengths)},
        flops=3.0 * model.forward_flops(int(lengths.sum()), int((lengths**2).sum())),
    )
