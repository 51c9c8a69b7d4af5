"""A ChemGPT on a molecule corpus."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from chemscale.common.files import atomic_folder
from chemscale.common.sections import ConfigurationError, read_section
from chemscale.hardware.memory import Memory
from chemscale.hardware.step_time import Work, transformer_work
from chemscale.models.adaptation.costs import training_flops
from chemscale.models.chemgpt import ChemGPTConfig
from chemscale.models.kernels.compiled import use_kernels
from chemscale.molecules.corpus import Corpus
from chemscale.molecules.data_module import BatchShape, MoleculeDataModule
from chemscale.molecules.settings import TokenBatch
from chemscale.molecules.tokenizers.opening import AnyTokenizer
from chemscale.points.base import Point, shared_fields
from chemscale.points.data import read_molecule_data
from chemscale.points.estimates.trial import free_gpu, time_trial
from chemscale.points.memory.language import Sizes, fit_micro_batching, sizes_of
from chemscale.points.parents.language import LanguageBeginning
from chemscale.points.parents.settings import LanguageTransfer
from chemscale.points.sections import Sections
from chemscale.points.shared_data import SharedData
from chemscale.records import Loss, RunRecord
from chemscale.tasks.language_model import LanguageModel
from chemscale.tasks.optimisation import Plateau, Schedule
from chemscale.training.budget import Budget, Epoch
from chemscale.training.distributed.strategies import SHARDED_WEIGHTS
from chemscale.training.trainer import set_threads

PROBE_FLOPS = 3e11
"""A trial step is run on as many molecules as cost about this much: well under a second or two."""

UNKNOWN_SYMBOL = "symbol outside the given vocabulary"
"""What manifests of corpora call molecules that a vocabulary cannot write (``Reason.UNKNOWN_SYMBOL``)."""


@dataclass(frozen=True)
class LanguagePoint(Point):
    """One ChemGPT."""

    data: MoleculeDataModule
    corpus: Corpus
    model: ChemGPTConfig
    batch: TokenBatch
    sizes: Sizes
    beginning: LanguageBeginning

    unit = "tokens"

    @classmethod
    def read(cls, config: dict[str, Any], shared: SharedData) -> LanguagePoint:
        """Check a resolved configuration and build what it describes; prepares a missing corpus.

        Args:
            config: plain dictionaries.
            shared: data that points have in common.

        Raises:
            ConfigurationError: what cannot be run, by its key.
            ValueError: what the package that reads a section refuses.
        """
        config, beginning = LanguageBeginning.read(config)
        sections = Sections.read(config)
        batch, data = read_section(TokenBatch, config["batch"], "batch"), read_molecule_data(config["data"])
        _model(config["model"], vocab_size=2)  # refused before a corpus is prepared
        if isinstance(sections.schedule, Plateau):
            raise ConfigurationError("schedule=plateau is for potentials: choose wsd, cosine or constant.")
        corpus = beginning.corpus(data, shared, sections.general.corpora_folder)
        tokenizer = corpus.tokenizer
        notation = tokenizer.representation.notation
        if notation != "selfies":  # recorded where a tokenizer decided it too: laws tell families by it
            stated = {**sections.config["data"], "notation": notation}
            sections = replace(sections, config={**sections.config, "data": stated})
        model = model_of(config["model"], tokenizer)
        beginning.check_vocabulary(model)
        sizes = sizes_of(sections, model, corpus, beginning.adaptation)
        micro_batching = fit_micro_batching(sections, batch, data.block, sizes)
        shape = BatchShape(batch.tokens, data.block, micro_batching.accumulate)
        shape.blocks(sections.placement.world)
        if shape.block > model.max_positions:
            raise ConfigurationError(
                f"data.block={shape.block} is longer than model.max_positions={model.max_positions}."
            )
        module = shared.molecules(corpus, shape, data, sections.general.seed)
        in_steps = Budget.from_mapping(sections.config["budget"]).unit == "steps"
        epoch = _epoch(module, model, beginning, exact=not in_steps)
        subset = (f"-n{data.molecules}" if data.molecules else "") + beginning.suffix
        spelled = "" if notation == "selfies" else f"-{notation}"
        given = f"-given-{'-'.join(data.conditions)}" if data.conditions else ""
        _refuse_sharded_generation(sections)
        common = shared_fields(
            sections,
            micro_batching,
            data_hash=corpus.hash,
            name=f"{config['model']['family']}{spelled}-w{model.width}-l{model.layers}{given}{subset}",
            epoch=epoch,
            cuts_per_step=shape.blocks(1) * shape.accumulate,
        )
        return cls(
            **common,
            corpus=corpus,
            data=module,
            model=model,
            batch=batch,
            sizes=sizes,
            beginning=beginning,
        )

    @property
    def data_hash(self) -> str:
        return self.corpus.hash

    def parameter_counts(self) -> dict[str, int]:
        return self.model.parameter_counts()

    def build_module(self) -> LanguageModel:
        schedule = cast(Schedule, self.schedule)  # read() refuses the other kind
        model = self.beginning.build(self.model)
        model.recompute = self.settings.micro_batching.recompute
        return LanguageModel(model, self.optimizer, schedule, self.steps)

    def batch_flops(self, batch: Any) -> float:
        return training_flops(self.model, self.beginning.adaptation, batch.size, batch.pairs)

    def describe_data(self) -> str:
        counts, tokenizer = self.corpus.manifest["counts"], self.corpus.tokenizer
        notation = tokenizer.representation.notation
        spelled = "" if notation == "selfies" else f" of {tokenizer.representation.title}"
        return (
            f"Corpus {self.corpus.path.name}: {counts['train']:,} training and {counts['validation']:,} "
            f"validation molecules, {tokenizer.vocab_size} tokens in the vocabulary{spelled}."
        )

    def describe_parent(self) -> str:
        dropped = self.corpus.manifest["counts"]["dropped"].get(UNKNOWN_SYMBOL, 0)
        return self.beginning.describe(self.model, dropped)

    def note_unique(self, record: RunRecord) -> None:
        record.parent = self.beginning.note(self.model)
        record.data.unique_tokens = self.epoch.amounts["tokens"]
        record.data.unique_molecules = self.epoch.amounts["molecules"]

    def amount(self, unit: str) -> float:
        share = self.epoch.in_units(unit) / self.epoch.cuts
        return self.steps * self.batch.tokens / self.data.shape.block * share

    def memory(self, strategy: str | None = None, world: int | None = None) -> Memory:
        world = self.placement.world if world is None else world
        return self.sizes.memory(
            strategy or self.strategy, world, self.batch.tokens, self.settings.micro_batching
        )

    @property
    def micro_batch(self) -> int:
        return self.batch.tokens // (self.placement.world * self.settings.micro_batching.accumulate)

    def work(self) -> Work:
        how = self.settings.micro_batching
        return transformer_work(
            self.sizes.transformer,
            self.sizes.weights.count,
            self.micro_batch,
            self._flops_per_position * self.micro_batch,
            half=self.sizes.half,
            recompute=how.recompute,
        )

    @property
    def _flops_per_position(self) -> float:
        return self.epoch.flops / float(self.data.train.positions.sum())

    def flops_per_second(self) -> float:
        set_threads(self.settings.trainer.threads)
        use_kernels(self.settings.trainer.kernels)
        device = self.placement.trial_device
        positions, seconds = self._trial(device)
        free_gpu(device)
        return self._flops_per_position * positions / (seconds + self.loop_seconds(device))

    def _trial(self, device: torch.device) -> tuple[int, float]:
        """Positions and seconds of a trial step."""
        state = torch.get_rng_state()
        module = self.build_module().to(device)
        torch.set_rng_state(state)
        batches = self.data.training_batches()
        blocks = max(1, round(PROBE_FLOPS / (self._flops_per_position * self.data.shape.block)))
        if device.type == "cuda":  # a part of a micro-batch would be launches alone
            blocks = max(1, self.micro_batch // self.data.shape.block)
        batches.blocks = min(blocks, batches.blocks)
        batch = batches[0].to(device)
        seconds = time_trial(lambda: module.nll(batch).mean().backward(), device, self.precision)
        return batch.size, seconds

    def describe_model(self, folder: Path) -> dict[str, Any]:
        tokenizer = self.corpus.tokenizer
        tokenizer.save(folder, max_length=self.model.max_positions, padding_side="left")
        return {"vocabulary": tokenizer.hash}

    def save_model(self, module: LanguageModel) -> None:
        """The weights as a Hugging Face folder with its tokenizer."""
        from chemscale.models.adaptation.lora import merged
        from chemscale.molecules.loading import save_trained

        tokenizer, block = self.corpus.tokenizer, self.data.shape.block
        with atomic_folder(self.model_folder) as partial:
            save_trained(merged(module.model), tokenizer, partial, name=self.name, block=block)

    def write_generation(self, module: LanguageModel, folder: Path, step: int) -> dict[str, Any]:
        from chemscale.models.adaptation.lora import merged
        from chemscale.molecules.loading import save_trained
        from chemscale.molecules.metrics.sampled.model import shard_seed, weights_hash

        tokenizer, block = self.corpus.tokenizer, self.data.shape.block
        with atomic_folder(folder) as partial:
            name = f"{self.name} at step {step}"
            save_trained(merged(module.model), tokenizer, partial, name=name, block=block)
        return {
            "model": str(folder.absolute()),
            "corpus": str(self.corpus.path.absolute()),
            "first": self.config["data"].get("molecules"),
            "n": self.settings.trainer.generate_n,
            "seed": shard_seed(self.config["seed"], step),
            "max_length": min(block, self.model.max_positions),
            "weights": weights_hash(folder),
        }

    @staticmethod
    def summary(loss: Loss) -> str:
        values = [loss.values[f"nats_per_{unit}"] for unit in ("token", "molecule", "heavy_atom")]
        return "{:.4f} nats/token, {:.2f} nats/molecule, {:.4f} nats/heavy atom".format(*values)


def _refuse_sharded_generation(sections: Sections) -> None:
    """Refuse to judge molecules of weights that no rank has whole.

    Raises:
        ConfigurationError: the strategy shares them.
    """
    strategy = sections.resolve_strategy()
    if sections.trainer.generate_every is not None and strategy in SHARDED_WEIGHTS:
        raise ConfigurationError(
            f"trainer.generate_every: no rank holds whole weights under strategy={strategy}. Leave it out, "
            "or use strategy=ddp, zero1 or zero2."
        )


def model_of(values: dict[str, Any], tokenizer: AnyTokenizer) -> ChemGPTConfig:
    """The section ``model`` for a vocabulary.

    Raises:
        ConfigurationError: a key or value that makes no sense.
    """
    special = {"pad_id": tokenizer.pad_id, "bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id}
    return _model(values, vocab_size=tokenizer.vocab_size, **special)


def _model(values: dict[str, Any], **given: int) -> ChemGPTConfig:
    """The section ``model``, with what the tokenizer gives."""
    own = {key: value for key, value in values.items() if key not in {"family", *LanguageTransfer.names()}}
    return read_section(ChemGPTConfig, {**given, **own} | given, "model")


def _epoch(
    data: MoleculeDataModule, model: ChemGPTConfig, beginning: LanguageBeginning, *, exact: bool
) -> Epoch:
    """One pass over the training subset.

    Args:
        data: the subset and its blocks.
        model: shape.
        beginning: which of its weights are trained.
        exact: whether steps follow from its blocks; if not, they are for estimates only, and those of very
            many molecules are not counted one by one.
    """
    plan, positions = data.plan, data.train.positions
    return Epoch(
        cuts=plan.blocks_of_epoch() if exact else plan.about_blocks_of_epoch(),
        amounts={"tokens": data.unique_tokens, "molecules": len(positions)},
        flops=training_flops(model, beginning.adaptation, positions.sum(), positions.total("squares")),
    )
