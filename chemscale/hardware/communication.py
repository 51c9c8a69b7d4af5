"""How long an optimizer step takes on 8 to 1,024 GPUs: computing, and what communication adds to it.

The model. A step computes for FLOPs / (MFU · peak). Beside that, collectives move the bytes that the strategy
prescribes (``collectives``) around rings over all GPUs. A collective of V bytes over W GPUs in n nodes takes

    V · (W − 1)/W / bandwidth + (n · 14 µs + (W − n) · 3.4 µs) · (W − 1)/W

with the bandwidth of NVLink in one node, and beyond it that of all network cards of a node together, where a
ring enters and leaves a node once. The two hop latencies are those by which NCCL itself chooses its
algorithms (src/graph/tuning.cc, ring, protocol simple: network and NVLink); an all-reduce takes two such
rounds, or the tree that NCCL prefers where it is faster.

Communication that overlaps with computing still costs ``OVERLAP_COST`` of its time: it takes memory bandwidth
and multiprocessors, and ranks wait for each other. This is the one fitted number: 0.5, by least squares from
the 14 rows of llm-foundry's table that give how MPT 1.3B, 2.7B and 6.7B scale over 16 to 512 H100 (root mean
square of the error 2.3 %). What cannot overlap, or takes longer than computing, is added in full. 16 further
rows, A100s and another program, are predicted to 3.6 %, the worst 7 % too high (``PUBLISHED``, and
``benchmarks/scaling_efficiency.py``).

Not modelled: kernels that lose efficiency as a GPU's share of the batch gets small, other jobs on the
network, reading data, checkpoints. The model is an upper bound of the efficiency in that sense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from chemscale.hardware.accelerators import Accelerator, HardwareError
from chemscale.hardware.memory import BUCKET

NVLINK_HOP = 3.4e-6
"""Seconds of a ring's hop within a node."""
NETWORK_HOP = 14e-6
"""Seconds of a hop between nodes."""
LINK_SHARE = 0.8
"""Of NVLink's one-way bandwidth, that a ring of large messages reaches."""
NETWORK_SHARE = 0.9
"""Of the network cards' bandwidth, likewise."""
OVERLAP_COST = 0.5
"""Share of its time that communication costs while the GPU computes."""
DDP_BUCKET = 25 * 2**20
"""Bytes that DDP reduces at once."""
PER_NODE = 8


@dataclass(frozen=True)
class Collective:
    """One kind of communication of an optimizer step.

    Args:
        kind: ``all-reduce``, ``all-gather`` or ``reduce-scatter``.
        size: bytes of the whole tensor, over all calls.
        calls: collectives that it is moved in.
        window: share of a step's computing that it may run beside.
    """

    kind: str
    size: float
    calls: int
    window: float = 1.0


def collectives(
    strategy: str, numbers: float, units: int, *, accumulate: int = 1, gathered: int = 4, reduced: int = 4
) -> list[Collective]:
    """The collectives of a strategy in one optimizer step.

    DDP all-reduces the gradients of a step once, under its last backward pass. ZeRO-1 reduces them to the
    owners of their parts, ZeRO-2 after every micro-batch, and both gather the new weights when the optimizer
    is done, which nothing hides. ZeRO-3 and FSDP2 gather the weights twice for every micro-batch, block by
    block, and reduce the gradients once.

    Args:
        strategy: ``single``, ``ddp``, ``zero1`` to ``zero3`` or ``fsdp2``.
        numbers: parameters.
        units: blocks that are gathered one by one, and one for the rest.
        accumulate: micro-batches of a step.
        gathered: bytes of a weight on the wire; float32 here.
        reduced: bytes of a gradient on the wire; float32 here.

    Raises:
        ValueError: an unknown strategy.
    """
    gradients, weights = reduced * numbers, gathered * numbers
    last = 2 / 3 / accumulate  # the backward pass of the last micro-batch
    buckets = math.ceil(numbers / BUCKET)
    if strategy == "single":
        return []
    if strategy == "ddp":
        return [Collective("all-reduce", gradients, math.ceil(gradients / DDP_BUCKET), last)]
    if strategy in ("zero1", "zero2"):
        times, window = (accumulate, 2 / 3) if strategy == "zero2" else (1, last)
        return [
            Collective("reduce-scatter", times * gradients, times * buckets, window),
            Collective("all-gather", weights, buckets, window=0.0),
        ]
    if strategy in ("zero3", "fsdp2"):
        return [
            Collective("all-gather", 2 * accumulate * weights, 2 * accumulate * units),
            Collective("reduce-scatter", accumulate * gradients, accumulate * units),
        ]
    raise ValueError(f"strategy={strategy}: no model of its communication.")


@dataclass(frozen=True)
class Cluster:
    """Nodes of GPUs.

    Args:
        peak: FLOP/s of a GPU.
        link: bytes/s one way that NVLink gives a GPU.
        network: bytes/s of a GPU's network card.
        per_node: GPUs of a node.
    """

    peak: float
    link: float
    network: float
    per_node: int = PER_NODE

    @classmethod
    def of(cls, gpu: Accelerator, name: str, *, network: float | None = None) -> Cluster:
        """Nodes as the maker builds them.

        Args:
            gpu: its figures.
            name: as it was given, for the message.
            network: bytes/s of a GPU's network card, where it is another.

        Raises:
            HardwareError: a GPU that is not sold in nodes of eight with NVLink.
        """
        if not gpu.link:
            raise HardwareError(
                f"--gpu {name}: no NVLink and network are tabled for it, so that nothing is said of many. "
                "Take b200, h200, h100, a100 or a100-40gb."
            )
        return cls(gpu.peak, gpu.link, network or gpu.network)

    def seconds(self, collective: Collective, world: int) -> float:
        """Seconds of a collective.

        Args:
            collective: what is moved.
            world: GPUs that take part.
        """
        if world < 2:
            return 0.0
        nodes = math.ceil(world / self.per_node)
        bandwidth = LINK_SHARE * self.link
        if nodes > 1:
            bandwidth = min(bandwidth, NETWORK_SHARE * min(world, self.per_node) * self.network)
        share = (world - 1) / world
        between = nodes if nodes > 1 else 0
        ring = (between * NETWORK_HOP + (world - between) * NVLINK_HOP) * share
        moved = collective.size * share / bandwidth
        if collective.kind != "all-reduce":
            return moved + collective.calls * ring
        tree = math.ceil(math.log2(nodes)) * NETWORK_HOP + (min(world, self.per_node) - 1) * NVLINK_HOP
        return 2 * (moved + collective.calls * min(ring, tree))


@dataclass(frozen=True)
class Step:
    """Seconds of an optimizer step.

    Args:
        compute: without communication.
        overlapped: communication while the GPU computes.
        exposed: communication while it waits.
    """

    compute: float
    overlapped: float
    exposed: float

    @property
    def seconds(self) -> float:
        """All of it: what overlaps costs ``OVERLAP_COST`` of its time."""
        return self.compute + OVERLAP_COST * self.overlapped + self.exposed

    @property
    def efficiency(self) -> float:
        """Share of the time in which nothing but the model is computed."""
        return self.compute / self.seconds


def step(cluster: Cluster, world: int, flops: float, mfu: float, parts: list[Collective]) -> Step:
    """Predict the time of one optimizer step.

    Args:
        cluster: that it runs on.
        world: GPUs.
        flops: of the step, on each GPU.
        mfu: model FLOPs utilization without communication.
        parts: what the strategy moves, of ``collectives``.
    """
    compute = flops / (mfu * cluster.peak)
    wanted: dict[float, float] = {}
    for part in parts:
        wanted[part.window] = wanted.get(part.window, 0.0) + cluster.seconds(part, world)
    overlapped = sum(min(seconds, window * compute) for window, seconds in wanted.items())
    return Step(compute, overlapped, sum(wanted.values()) - overlapped)


# --- published figures -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    """Rows of a table: how one model's MFU falls with the number of GPUs.

    Args:
        name: of the model, trained under FSDP; weights travel in bf16, gradients in float32.
        gpu: as in the table of accelerators.
        numbers: parameters.
        layers: of the model.
        width: of the model.
        sequence: tokens of one.
        network: bytes/s of a GPU's network card.
        rows: GPUs, sequences of a GPU and step, gathers of the weights in a step, MFU.
        fitted: whether ``OVERLAP_COST`` was fitted to it.
    """

    name: str
    gpu: str
    numbers: float
    layers: int
    width: int
    sequence: int
    network: float
    rows: tuple[tuple[int, int, int, float], ...]
    fitted: bool = False

    def predicted(self, cluster: Cluster) -> list[float]:
        """The MFU of each row, from the first row and the model."""

        def parts(gathers: int) -> list[Collective]:
            units = self.layers + 1
            return [
                Collective("all-gather", 2 * gathers * self.numbers, gathers * units),
                Collective("reduce-scatter", 4 * self.numbers, units),
            ]

        found: list[float] = []
        alone = 0.0
        per_token = 6 * self.numbers + 12 * self.layers * self.width * self.sequence
        for world, sequences, gathers, mfu in self.rows:
            flops = per_token * sequences * self.sequence
            if not found:  # the MFU that the first row would have without communication
                overlapped = sum(cluster.seconds(part, world) for part in parts(gathers))
                alone = mfu / (1 - OVERLAP_COST * overlapped * mfu * cluster.peak / flops)
            step_ = step(cluster, world, flops, alone, parts(gathers))
            found.append(alone * step_.efficiency)
        return found


PUBLISHED: tuple[Published, ...] = (
    Published(
        "MPT 1.3B", "h100", 1_315_950_592, 24, 2048, 2048, 50e9,
        ((8, 14, 2, 0.4182), (16, 20, 2, 0.4236), (32, 20, 2, 0.4152), (64, 20, 2, 0.4085),
         (128, 12, 1, 0.4060), (256, 12, 1, 0.3915), (512, 12, 1, 0.3665)),
        fitted=True,
    ),
    Published(
        "MPT 2.7B", "h100", 2_651_837_440, 32, 2560, 2048, 50e9,
        ((16, 30, 2, 0.4373), (32, 18, 2, 0.4170), (64, 18, 2, 0.4080), (128, 8, 1, 0.4243),
         (256, 8, 1, 0.4125), (512, 8, 1, 0.3924)),
        fitted=True,
    ),
    Published(
        "MPT 6.7B", "h100", 6_658_859_008, 32, 4096, 2048, 50e9,
        ((8, 6, 2, 0.4644), (128, 6, 2, 0.4571), (256, 6, 2, 0.4415), (512, 6, 2, 0.4220)),
        fitted=True,
    ),
    Published(
        "MPT 1.3B", "a100-40gb", 1_315_950_592, 24, 2048, 2048, 25e9,
        ((8, 8, 2, 0.5623), (16, 8, 2, 0.5569), (64, 10, 2, 0.5544), (128, 10, 2, 0.5441)),
    ),
    Published(
        "MPT 2.7B", "a100-40gb", 2_651_837_440, 32, 2560, 2048, 25e9,
        ((8, 5, 2, 0.5782), (16, 5, 2, 0.5602), (32, 6, 2, 0.5696), (64, 6, 2, 0.5594), (128, 6, 2, 0.5480)),
    ),
    Published(
        "MPT 350M", "a100-40gb", 355_985_408, 24, 1024, 2048, 25e9,
        ((8, 16, 2, 0.4917), (16, 18, 2, 0.4866), (32, 18, 2, 0.4726), (64, 18, 2, 0.4627),
         (128, 18, 2, 0.4561)),
    ),
    Published(
        "MPT 125M", "a100-40gb", 125_311_488, 12, 768, 2048, 25e9,
        ((8, 26, 2, 0.4275), (16, 26, 2, 0.4093), (32, 26, 2, 0.3986), (64, 26, 2, 0.3927),
         (128, 26, 2, 0.3886)),
    ),
    Published(
        "Llama 3.1 8B", "h100", 8_030_261_248, 32, 4096, 8192, 50e9,
        ((8, 2, 2, 0.3900), (128, 2, 2, 0.3900 * 6514 / 6667)),
    ),
)  # fmt: skip
"""MPT: llm-foundry, scripts/train/benchmarking/README.md (versions of 2023 and 2024; the 32-GPU row of MPT
1.3B on A100, an outlier 20 % below its neighbours, left out). Llama: torchtitan,
benchmarks/llama3_h100_202412_torchtitan.md, compiled, 6,667 and 6,514 tokens/s and GPU at a stated MFU of
39 %. Rows marked fitted gave ``OVERLAP_COST``; the others test it."""
