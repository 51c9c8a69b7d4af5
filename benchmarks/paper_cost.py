"""What the sweeps of Frey et al. 2023 cost: counted FLOPs, and hours of GPUs at published rates.

    python benchmarks/paper_cost.py [--euros-per-gpu-hour 2.5] [--frames-per-second 2000]

FLOPs are counted as training counts them: ChemGPT by its formula, potentials by PyTorch's counter on a
molecule of ANI-1x's mean size. Hours take each GPU at the share of its peak that llm-foundry published for
small transformers (``chemscale/hardware.py`` has the sources); narrow models do not reach it, so that their
hours are a floor. Potentials of this size wait for kernels to start, not for arithmetic: their hours follow
from the rate of frames that you name. Nothing is trained here.
"""

from __future__ import annotations

import argparse

import numpy as np

from chemscale.hardware.accelerators import accelerator, training_rate
from chemscale.models.chemgpt import ChemGPTConfig
from chemscale.models.potentials import build, read_config
from chemscale.structures.graphs import Structure, collate
from chemscale.training.metrics.flops import count_potential_flops

WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)
VOCABULARY, SYMBOLS = 384, 33
"""Of PubChem10M without stereo: symbols in the vocabulary, and of a molecule with its end."""
MOLECULES, EPOCHS = tuple(10**k for k in range(2, 8)), 10
FRAMES, FRAME_EPOCHS, POTENTIAL_WIDTHS = tuple(10**k for k in range(2, 7)), 50, (16, 64, 256)
ATOMS, DENSITY = 15, 0.1
"""Mean atoms of an ANI-1x structure; atoms per Å³ inside a molecule."""
GPUS = ("a100", "h100")


def chemgpt_flops(width: int, molecules: float) -> float:
    """Training FLOPs of one epoch over so many molecules."""
    config = ChemGPTConfig(vocab_size=VOCABULARY, width=width, layers=24, heads=16)
    probe = 10**6
    per_token = 3.0 * config.forward_flops(probe * SYMBOLS, probe * SYMBOLS**2) / (probe * SYMBOLS)
    return per_token * molecules * SYMBOLS


def potential_flops(family: str, width: int) -> float:
    """Training FLOPs of one structure: forward, forces, double backward."""
    model = read_config({"family": family, "width": width, "layers": 3, "cutoff": 5.0})
    positions = _cluster()
    numbers = np.resize(np.array([6, 1, 7, 1, 8, 1], np.uint8), ATOMS)
    frame = Structure(numbers=numbers, positions=positions, charge=0, spin=0).with_neighbours(5.0)
    batch = collate([frame, frame])
    batch.energy = batch.charge * 0.0
    flops = count_potential_flops(build(model, (1, 6, 7, 8), neighbours=12.0), batch)
    return flops.of(ATOMS, batch.edge_index.shape[1] // 2, ATOMS**2, 1)


def _cluster() -> np.ndarray:
    """(ATOMS, 3) Å: points on a jittered grid at the density of a molecule."""
    step = DENSITY ** (-1 / 3)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)[:ATOMS] * step
    return grid + np.random.default_rng(0).normal(0, 0.1, grid.shape)


def hours(flops: float, gpu: str) -> float:
    rate = training_rate(gpu)
    assert rate is not None
    return flops / rate.flops / 3600


def row(*cells: object) -> str:
    return "| " + " | ".join(str(c) for c in cells) + " |"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--euros-per-gpu-hour", type=float, help="adds a column of euros, on H100s")
    parser.add_argument("--frames-per-second", type=float, default=2000, help="assumed; a run prints its own")
    options = parser.parse_args()
    price = options.euros_per_gpu_hour
    euros = ("euros",) if price else ()

    print(f"ChemGPT, 24 layers, {EPOCHS} epochs of 10² … 10⁷ molecules of {SYMBOLS} symbols:\n")
    print(row("width", "N", "FLOP, all six sizes", *(f"{gpu} hours" for gpu in GPUS), *euros))
    print(row(*["---:"] * (3 + len(GPUS) + len(euros))))
    totals = {"grid": 0.0, "ladder": 0.0}
    for width in WIDTHS:
        flops = EPOCHS * chemgpt_flops(width, sum(MOLECULES))
        totals["ladder"] += flops
        totals["grid"] += flops if width <= 512 else 0.0
        times = [hours(flops, gpu) for gpu in GPUS]
        cost = (number(price * times[-1]),) if price else ()
        print(row(width, f"{12 * 24 * width**2:,}", f"{flops:.1e}", *map(number, times), *cost))
    for name, what in (("grid", "16 … 512 (the sweep)"), ("ladder", "16 … 2048")):
        times = [hours(totals[name], gpu) for gpu in GPUS]
        cost = (number(price * times[-1]),) if price else ()
        print(row(what, "", f"{totals[name]:.1e}", *map(number, times), *cost))

    seen, rate = FRAME_EPOCHS * sum(FRAMES), options.frames_per_second
    print(f"\nPotentials, 3 layers, {FRAME_EPOCHS} epochs of 10² … 10⁶ frames of {ATOMS} atoms:\n")
    print(row("family", "width", "FLOP a frame", "FLOP, all five sizes"))
    print(row("---", *["---:"] * 3))
    for family in ("schnet", "painn"):
        for width in POTENTIAL_WIDTHS:
            frame = potential_flops(family, width)
            print(row(family, width, f"{frame:.1e}", f"{frame * seen:.1e}"))
    print(f"\n{seen:,} frames a row; at {rate:,.0f} frames/s that is {number(seen / rate / 3600)} GPU hours.")
    watts = accelerator("h100").watts
    print(f"\nAt its power limit of {watts} W an H100 hour is {watts * 3600 / 1e6:.2f} MJ.")


if __name__ == "__main__":
    main()
