"""Runs that hardly determine a joint law still get their page, and the page says how little is known."""

import numpy as np
import pytest

from chemscale.analysis.fit import fit_csv


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 4, 12])
def test_a_law_that_the_runs_hardly_show_is_drawn_all_the_same(tmp_path, seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(9, 16))
    n, d = 10 ** random.uniform(3, 5, count), 10 ** random.uniform(4, 6, count)
    truth = 1.0 + random.choice([0, 20]) * n**-0.4 + random.choice([0, 300]) * d**-0.5
    loss = truth * np.exp(random.normal(0, random.choice([0.02, 0.2]), count))
    rows = [f"{a},{b},{6 * a * b},{c}" for a, b, c in zip(n, d, loss, strict=True)]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(["N,D,C,L", *rows]))
    outcome = fit_csv(path, "N=N,D=D,C=C,loss=L", bootstrap=100)
    assert outcome.report.exists()
    assert (outcome.report.parent / "law.json").exists()
