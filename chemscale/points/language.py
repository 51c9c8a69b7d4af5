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

from chemscale.hardware.memory import GIB, Memory, Transformer, Weights, rank_memory
from chemscale.launchers.section import planned_world
from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.layers.documents import SHORT_ON_CPU, Documents
from chemscale.molecules.corpus import Corpus
from chemscale.molecules.data_module import BatchShape, MoleculeDataModule
from chemscale.points.base import (
    ConfigurationError,
    Point,
    device_of,
    free_gpu,
    has_gpu,
    section,
    shared_fields,
    strategy_of,
)
from chemscale.points.data import open_or_prepare
from chemscale.points.placement import (
    AUTO,
    Cut,
    Room,
    choose_cut,
    read_per_gpu,
    read_recompute,
    room_of,
    what_fits,
)
from chemscale.records import Loss, RunRecord
from chemscale.tasks.language_model import LanguageModel
from chemscale.tasks.optimisation import Plateau, Schedule
from chemscale.training.budget import Epoch
from chemscale.training.trainer import set_threads

PROBE_FLOPS = 3e11
"""A trial step is run on as many molecules as cost about this much: well under a second or two."""

SAMPLED = 256
"""Molecules whose lengths stand for those of a micro-batch."""


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
        model = _model(config["model"], corpus)
        config = _cut_to_fit(config, model, corpus)
        shape = BatchShape(config["batch"]["tokens"], config["data"]["block"], config["batch"]["accumulate"])
        shape.blocks(planned_world(config))
        if shape.block > model.max_positions:
            raise ConfigurationError(
                f"data.block={shape.block} is longer than model.max_positions={model.max_positions}."
            )
        data = _data_module(corpus, shape, config)
        epoch = _epoch(data, model)
        subset = f"-n{config['data']['molecules']}" if config["data"]["molecules"] else ""
        name = f"{config['model']['family']}-w{model.width}-l{model.layers}{subset}"
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
        model = ChemGPT(self.model)
        model.recompute = self.config["trainer"].get("checkpoint_activations", False)
        return LanguageModel(model, self.optimizer, schedule, self.steps)

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

    def memory(self, strategy: str | None = None, world: int | None = None) -> Memory:
        """Bytes of one rank under this strategy on so many ranks; None: its own."""
        cut = Cut(
            self.config["batch"]["accumulate"], self.config["trainer"].get("checkpoint_activations", False)
        )
        sizes = _sizes(self.config, self.model, self.corpus)
        return _memory(self.config, sizes, strategy or self.strategy, world, cut)

    @property
    def micro_batch(self) -> int:
        """Positions of a micro-batch on one rank."""
        batch = self.config["batch"]
        return int(batch["tokens"] // (planned_world(self.config) * batch["accumulate"]))

    def memory_gib(self) -> float:
        return self.memory().total / GIB

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
        count = batch.tokens.numel()
        del module, batch
        free_gpu(device)
        return per_token * count / seconds

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


@dataclass(frozen=True)
class _Sizes:
    """What memory follows from: the weights, and the layout of the molecules in a micro-batch."""

    weights: Weights
    transformer: Transformer


def _sizes(config: dict[str, Any], model: ChemGPTConfig, corpus: Corpus) -> _Sizes:
    count = model.parameter_counts()["all"]
    lengths = np.asarray(corpus.train.lengths[:SAMPLED]).astype(np.int64) + 1
    slots, squares, longest = layout(lengths)
    fused = has_gpu(config) or longest > SHORT_ON_CPU
    shape = Transformer(model.width, model.layers, model.heads, model.vocab_size, slots, squares, fused)
    rest = count - model.layers * shape.block
    return _Sizes(
        Weights(count, shape.block, rest, moments=3 if config["optimizer"].get("amsgrad") else 2), shape
    )


def layout(lengths: np.ndarray) -> tuple[float, float, int]:
    """Slots and squares of the attention rectangles a token, and the longest molecule of the sample.

    Args:
        lengths: (n,) tokens of molecules as they stand in a micro-batch.
    """
    groups = Documents.from_lengths(lengths).groups
    tokens = float(lengths.sum())
    slots = sum(g.molecules * g.longest for g in groups) / tokens
    squares = sum(g.molecules * g.longest**2 for g in groups) / tokens
    return slots, squares, int(lengths.max())


def _memory(config: dict[str, Any], sizes: _Sizes, strategy: str, world: int | None, cut: Cut) -> Memory:
    world = planned_world(config) if world is None else world
    tokens = config["batch"]["tokens"] / (world * cut.accumulate)
    half = str(config["trainer"]["precision"]) in ("bf16-mixed", "16-mixed")
    return rank_memory(
        strategy,
        sizes.weights,
        world,
        activations=sizes.transformer.activation_bytes(tokens, half=half, recompute=cut.recompute),
        accumulate=cut.accumulate,
        offload=config["strategy"]["offload"] == "cpu",
        overlap=has_gpu(config),
    )


def _cut_to_fit(config: dict[str, Any], model: ChemGPTConfig, corpus: Corpus) -> dict[str, Any]:
    """The configuration with ``batch.accumulate`` and ``trainer.checkpoint_activations`` decided.

    Raises:
        ConfigurationError: a step that cannot be shared, or what was asked for does not fit.
    """
    batch, block, world = config["batch"], config["data"]["block"], planned_world(config)
    per_gpu = read_per_gpu(batch.get("per_gpu"))
    recompute = read_recompute(config["trainer"].get("checkpoint_activations", False))
    blocks = BatchShape(batch["tokens"], block).blocks(world)
    cuts = [batch["accumulate"]]
    if per_gpu is not None:
        cuts = [k for k in range(1, blocks + 1) if blocks % k == 0]
    if isinstance(per_gpu, int):
        cuts = [k for k in cuts if blocks // k * block <= per_gpu][:1]
        if not cuts:
            raise ConfigurationError(f"batch.per_gpu={per_gpu}: less than one block, data.block={block}.")
    if AUTO in (per_gpu, recompute):
        room, sizes, strategy = room_of(config), _sizes(config, model, corpus), strategy_of(config)

        def least(name: str, ranks: int) -> Memory | None:
            if batch["tokens"] % (block * ranks) or (
                name == "fsdp2" and config["strategy"]["offload"] == "cpu"
            ):
                return None
            smallest = Cut(batch["tokens"] // (block * ranks), recompute is not False)
            return _memory(config, sizes, name, ranks, smallest)

        key = "batch.per_gpu" if per_gpu == AUTO else "trainer.checkpoint_activations"
        cut = choose_cut(
            cuts,
            recompute,
            lambda cut: _memory(config, sizes, strategy, world, cut),
            room,
            key=key,
            advice=lambda: what_fits(least, world, cast(Room, room)),
        )
    else:
        cut = Cut(cuts[0], bool(recompute))
    return {
        **config,
        "batch": {**batch, "accumulate": cut.accumulate},
        "trainer": {**config["trainer"], "checkpoint_activations": cut.recompute},
    }


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
