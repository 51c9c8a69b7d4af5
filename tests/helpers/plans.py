"""A law.json as fit leaves it, of runs of small ChemGPTs whose law is known."""

import json
from pathlib import Path

import numpy as np

from chemscale.laws import Additive
from chemscale.planning.candidates import Family

TRUTH = np.array([0.9, 20.0, 300.0, 0.35, 0.4])


def write_law(path: Path, family: Family, **changes) -> Path:
    """A law.json with runs of 16 to 64 wide models; `changes` replace its parts."""
    random, points = np.random.default_rng(0), []
    for width in (16, 24, 32, 48, 64):
        for tokens in (1e5, 4e5, 1.6e6):
            n = family.counts(width)["matrices"]
            loss = float(Additive().value(TRUTH, n, tokens)) * np.exp(random.normal(0, 0.003))
            row = {"parameters": n, "tokens": tokens, "flops": family.flops(width, tokens)}
            points.append({**row, "nats_per_token": loss, "seed": 0, "used": True})
    law = {
        "form": "additive",
        "parameters": dict(zip(("E", "A", "B", "alpha", "beta"), TRUTH.tolist(), strict=True)),
        "unit": "nats_per_token",
        "data": {"points": points},
        **changes,
    }
    path.write_text(json.dumps(law))
    return path
