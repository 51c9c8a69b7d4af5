"""A ChemGPT on paper: what fits where and how fast, for a model of any size, without data or GPUs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.config.check import check_keys
from chemscale.hardware.accelerators import REDUCED, HardwareError, accelerator, training_rate
from chemscale.hardware.communication import PER_NODE, Cluster, Step, collectives, step
from chemscale.hardware.memory import (
    GIB,
    RESERVED,
    STAGES,
    USABLE,
    Memory,
    Transformer,
    Weights,
    rank_memory,
)
from chemscale.planning.candidates import PlanError

GPUS = (8, 16, 32, 64, 128, 256, 512, 1024)
TOKENS_A_PARAMETER = 20
"""Of the run whose length is printed (Hoffmann et al. 2022)."""


@dataclass(frozen=True)
class PaperModel:
    """A ChemGPT and its batch.

    Args:
        counts: parameters by convention.
        shape: what memory follows from.
        tokens: positions of an optimizer step.
        block: positions that molecules are packed into.
        flops: of training on a token.
        half: whether activations are of 16 bits.
    """

    counts: dict[str, int]
    shape: Transformer
    tokens: int
    block: int
    flops: float
    half: bool

    @property
    def weights(self) -> Weights:
        """Sizes that the memory of weights follows from."""
        count = self.counts["all"]
        return Weights(count, self.shape.block, count - self.shape.layers * self.shape.block)

    def memory(self, strategy: str, world: int, accumulate: int, recompute: bool) -> Memory:
        """Bytes of one GPU.

        Args:
            strategy: of training.
            world: GPUs.
            accumulate: micro-batches of a step.
            recompute: whether activations are computed again.
        """
        tokens = self.tokens / (world * accumulate)
        active = self.shape.activation_bytes(tokens, half=self.half, recompute=recompute)
        return rank_memory(strategy, self.weights, world, activations=active, accumulate=accumulate)


@dataclass(frozen=True)
class Placement:
    """How a strategy fits a GPU: its fewest micro-batches, recomputing only where nothing else fits."""

    strategy: str
    accumulate: int
    recompute: bool
    memory: Memory
    fits: bool


def read_model(name: str, settings: Sequence[str], vocab: int, length: float, precision: str) -> PaperModel:
    """Read ``conf/model/NAME.yaml`` with key=value settings on top.

    Args:
        name: of the model.
        settings: key=value.
        vocab: symbols.
        length: mean tokens of a molecule.
        precision: of training.

    Raises:
        PlanError: no such model, or not a ChemGPT.
    """
    from chemscale.models.chemgpt import ChemGPTConfig  # torch: only where it is needed
    from chemscale.points.parents.settings import LanguageTransfer

    overrides = [f"model={name}", *settings]
    try:
        with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
            composed = compose("train", overrides)
    except ConfigCompositionException as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise PlanError(f"--model {name}: {reason}. conf/model/ has the models.") from None
    check_keys(composed)
    model: Any = OmegaConf.to_container(composed.model)
    if model.pop("family") != "chemgpt":
        raise PlanError(f"--model {name}: potentials fit one GPU, so that there is nothing to place.")
    shape = {k: v for k, v in model.items() if k not in LanguageTransfer.names()}
    config = ChemGPTConfig(vocab_size=vocab, **shape)
    one_million = 10**6
    return PaperModel(
        counts=config.parameter_counts(),
        shape=Transformer(config.width, config.layers, config.heads, vocab),
        tokens=int(composed.batch.tokens),
        block=int(composed.data.block),
        flops=3.0 * config.forward_flops(one_million, round(one_million * length)) / one_million,
        half=precision in REDUCED,
    )


def place(model: PaperModel, strategy: str, world: int, limit: float) -> Placement:
    """The fewest micro-batches that fit, else the least memory that there is.

    Args:
        model: and its batch.
        strategy: of training.
        world: GPUs.
        limit: bytes of a GPU that tensors may take.

    Raises:
        PlanError: the step cannot be shared among so many GPUs.
    """
    share = world * model.block
    if model.tokens % share:
        raise PlanError(
            f"batch.tokens={model.tokens} is not a multiple of {world} GPUs × data.block={model.block}: "
            f"choose another --gpus, or --set batch.tokens={max(1, round(model.tokens / share)) * share}."
        )
    blocks = model.tokens // share
    for recompute in (False, True):
        for accumulate in (k for k in range(1, blocks + 1) if blocks % k == 0):
            memory = model.memory(strategy, world, accumulate, recompute)
            if memory.total <= limit:
                return Placement(strategy, accumulate, recompute, memory, True)
    return Placement(strategy, blocks, True, memory, False)


def usable(gpu: str) -> float:
    """Bytes of a GPU that tensors may take."""
    return USABLE * accelerator(gpu).memory_gib * GIB - RESERVED


def print_model_plan(
    name: str,
    settings: Sequence[str],
    vocab: int,
    length: float,
    gpu: str | None,
    gpus: int,
    *,
    precision: str | None,
    mfu: float | None,
) -> None:
    """Print what fits on so many GPUs under each strategy, and how a step scales from 8 to 1,024 of them.

    Args:
        name: of a model of ``conf/model``.
        settings: key=value on top of it.
        vocab: symbols.
        length: mean tokens of a molecule.
        gpu: name in the table of accelerators.
        gpus: how many there are.
        precision: of training; None for bf16-mixed.
        mfu: share of the peak to expect; None for what is published of that GPU.

    Raises:
        PlanError: no GPU, no such model, or a batch that cannot be shared.
        HardwareError: an unknown GPU.
    """
    if gpu is None:
        raise PlanError("--model needs the GPUs that it is to fit: --gpu a100-40gb --gpus 8.")
    precision = precision or "bf16-mixed"
    model = read_model(name, settings, vocab, length, precision)
    console = Console()
    console = console if console.is_terminal else Console(width=132)
    matrices = model.counts["matrices"]
    console.print(
        f"{name}: {model.counts['all']:,} parameters ({matrices:,} in matrices), {model.shape.layers} layers "
        f"of width {model.shape.width:,}; {model.tokens:,} positions a step; {precision}.",
        highlight=False,
    )
    limit = usable(gpu)
    strategies = STAGES if gpus > 1 else ("single",)
    placed = [place(model, strategy, gpus, limit) for strategy in strategies]
    console.print(memory_table(model, placed, gpus, gpu))
    console.print(
        f"{gpu}: {limit / GIB:.1f} of {accelerator(gpu).memory_gib} GiB for tensors; ! does not fit.",
        highlight=False,
    )
    try:
        cluster = Cluster.of(accelerator(gpu), gpu)
        rate = training_rate(gpu, mfu=mfu, precision=precision)
        assert rate is not None
    except HardwareError as error:
        console.print(f"No times: {error}", highlight=False)
        return
    console.print(scaling_table(model, cluster, rate.flops / cluster.peak, limit))
    console.print(
        f"Compute: {rate.why}; small micro-batches taken for as fast as large ones. Communication: float32 "
        f"over NVLink ({cluster.link / 1e9:.0f} GB/s) and a card of {cluster.network / 1e9:.0f} GB/s for "
        f"each GPU, nodes of {cluster.per_node}; half of its time is felt beside computing. What this is "
        "checked against: benchmarks/scaling_efficiency.py.",
        highlight=False,
    )


def memory_table(model: PaperModel, placed: Sequence[Placement], gpus: int, gpu: str) -> Table:
    """Memory of one GPU, a row a strategy.

    Args:
        model: and its batch.
        placed: how each strategy fits.
        gpus: how many there are.
        gpu: their name.
    """
    parts = ("weights", "gradients", "optimizer", "buffers", "activations")
    table = Table(
        "strategy", "micro-batch", "recompute", *parts, "peak", title=f"GiB on each of {gpus} {gpu}"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for found in placed:
        positions = model.tokens // (gpus * found.accumulate)
        table.add_row(
            found.strategy,
            f"{positions:,} × {found.accumulate}",
            "yes" if found.recompute else "no",
            *(f"{getattr(found.memory, part) / GIB:.2f}" for part in parts),
            f"{found.memory.total / GIB:.2f}" + ("" if found.fits else " !"),
        )
    return table


def scaling_table(model: PaperModel, cluster: Cluster, mfu: float, limit: float) -> Table:
    """The fastest strategy that fits on each number of GPUs; the step is the same on all.

    Args:
        model: and its batch.
        cluster: of GPUs.
        mfu: share of the peak that computing reaches.
        limit: bytes of a GPU that tensors may take.
    """
    columns = "GPUs, strategy, micro-batch, compute, communication, step, efficiency, MFU, tokens/s, days"
    table = Table(
        *columns.split(", "),
        title=f"one step, and {TOKENS_A_PARAMETER} tokens a parameter",
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for world in GPUS:
        if model.tokens % (world * model.block):
            table.add_row(str(world), "", "step too small to share")
            continue
        best = fastest(model, cluster, mfu, limit, world)
        if best is None:
            table.add_row(str(world), "none fits")
            continue
        found, took = best
        useful = model.flops * model.tokens / world / cluster.peak / took.seconds
        rate = model.tokens / took.seconds
        days = TOKENS_A_PARAMETER * model.counts["matrices"] / rate / 86400
        table.add_row(
            f"{world:,}",
            found.strategy + (", recompute" if found.recompute else ""),
            f"{model.tokens // (world * found.accumulate):,} × {found.accumulate}",
            f"{took.compute:.3g} s",
            f"{took.overlapped + took.exposed:.3g} s",
            f"{took.seconds:.3g} s",
            f"{took.efficiency:.1%}",
            f"{useful:.1%}",
            f"{rate:,.0f}",
            f"{days:.3g}",
        )
    return table


def fastest(
    model: PaperModel, cluster: Cluster, mfu: float, limit: float, world: int
) -> tuple[Placement, Step] | None:
    """The strategy with the shortest step among those that fit; None where none does.

    Args:
        model: and its batch.
        cluster: of GPUs.
        mfu: share of the peak that computing reaches.
        limit: bytes of a GPU that tensors may take.
        world: GPUs.
    """
    best: tuple[Placement, Step] | None = None
    for strategy in STAGES:
        found = place(model, strategy, world, limit)
        if not found.fits:
            continue
        flops = model.flops * model.tokens / world * (4 / 3 if found.recompute else 1)
        parts = collectives(
            strategy, model.counts["all"], model.shape.layers + 1, accumulate=found.accumulate
        )
        took = step(replace(cluster, per_node=PER_NODE), world, flops, mfu, parts)
        if best is None or took.seconds < best[1].seconds * (1 - math.ulp(1.0)):
            best = (found, took)
    return best
