"""Porian et al. 2024: exponents of N* ∝ C^a from their minima, in each step from Kaplan to Chinchilla."""

import csv
import json

import numpy as np
import pytest

from chemscale.laws.allocation.isoflop import weighted_line
from tests.helpers.paths import real_data

STEPS = {
    ("base", "long", "kaplan", "kaplan"): "kaplan_repro",
    ("base", "long", "kaplan", "standard"): "count_last_layer",
    ("base", "short", "kaplan", "standard"): "short_warmup",
    ("base", "short", "chinchilla", "standard"): "cosine_decay",
    ("tuned", "short", "const", "standard"): "tuned_optimizer",
}


@pytest.mark.published
@pytest.mark.parametrize("dataset", ["rw", "owt2"])
@pytest.mark.parametrize("step", STEPS.values())
def test_weighted_lines_through_minima_give_the_published_exponents(dataset, step):
    reference = json.loads(real_data("scaling/scaling_reference_values.json").read_text())
    published, low, high = reference["porian_exponents_N_of_C"][dataset][step]
    with real_data("scaling/porian_isoflop_optima.csv").open(newline="") as file:
        rows = [
            [float(row[key] or "nan") for key in ("flops", "n_star", "n_star_log_std")]
            for row in csv.DictReader(file)
            if row["dataset"] == dataset
            and STEPS[tuple(row[key] for key in ("hparams", "warmup", "decay", "param_count"))] == step
        ]
    line = weighted_line(*np.array(rows).T)
    assert low < line.slope < high
    assert line.slope == pytest.approx(published, abs=1e-4)
    assert line.slope_interval[0] < published < line.slope_interval[1]
