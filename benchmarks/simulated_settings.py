"""Sweeps over rates and batches with learning curves that nobody fitted: crossings, a cool-down, explosions.

None of it is the rule's own model: a setting falls as a power of its own rate of progress to a floor that is
quadratic in the log of rate and batch, carries noise that grows with rate over batch until a cool-down takes
it away, and may explode where the rate is high.
"""

import math

import numpy as np

from chemscale.laws.data.curves import TrainingCurve

WINDOWS = 50


def simulated_sweep(seed: int, *, rates: int = 8, batches: int = 3) -> list[TrainingCurve]:
    """Settings (rates × batches) of one task, drawn anew for each seed."""
    random = np.random.default_rng(seed)
    base, depth = random.uniform(0.5, 3.0), random.uniform(0.3, 2.0)
    best_rate, width = random.uniform(-2.8, -1.8), random.uniform(0.5, 1.2)
    power, hot = random.uniform(0.3, 0.8), random.uniform(0.02, 0.15)
    jitter, cooldown = random.uniform(0.002, 0.02), random.choice([0.0, 0.3, 1.0])
    edge = random.uniform(-1.6, -1.2)
    time = np.arange(1, WINDOWS + 1) / WINDOWS
    curves = []
    for rate in np.linspace(-3.3, -1.2, rates):
        for batch in np.arange(batches) * math.log10(2):
            speed = 10 ** (0.8 * (rate - best_rate)) / 10 ** (0.5 * batch)
            off = (rate - best_rate - 0.5 * batch) / width
            floor = base * (1 + 0.15 * off**2)
            heat = hot * 10 ** (0.7 * (rate - best_rate) - batch)
            cooling = np.clip((time - (1 - cooldown)) / cooldown, 0, 1) if cooldown else np.zeros(WINDOWS)
            loss = floor * (1 + depth * (1 + 60 * speed * time) ** -power + heat * (1 - cooling))
            loss = loss * np.exp(jitter * random.standard_normal(WINDOWS))
            if rate > edge and random.random() < 0.3:
                loss[random.integers(1, WINDOWS) :] *= random.uniform(2, 10)
            curves.append(
                TrainingCurve(
                    f"lr{rate:.2f}-b{batch:.1f}", time * WINDOWS, loss, float(WINDOWS), time * WINDOWS, loss,
                    final=float(loss[-1]), flops=1.0,
                    settings={"optimizer.lr": 10**rate, "batch.tokens": 512 * 10**batch},
                )
            )  # fmt: skip
    return curves
