"""A joint law of the Chinchilla runs: every start and a bootstrap on one core, beside other fitters.

python benchmarks/law_fits.py CSV [--starts-every 9] [--rival-python PATH]

CSV has the columns `Model Size`, `Training FLOP` and `loss` of Besiroglu et al.'s reading of the figure (245
runs, of which the five highest losses are left out as there). All fitters minimise Huber's loss of log loss
with δ = 10⁻³ from the same grid of 4,500 starts (Hoffmann et al. 2022), of which the slower rivals may take
every k-th; choose a k without the factor 5, or an exponent never varies. `--rival-python` is an interpreter
of an environment that holds the `chinchilla` package, which is run twice: with this loss, and with its own,
for which the share of starts counts from the best of its own objective. Set OMP_NUM_THREADS=1 and bind the
process to one core; processor seconds are what it worked, wall seconds also count what others did.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from scipy import optimize

from chemscale.laws import Additive, fit_surface
from chemscale.laws.checks.projection import project
from chemscale.laws.joint.huber import DELTA, huber
from chemscale.laws.joint.search import NEAR

T = TypeVar("T")
RIVAL = """
import json, sys, time, warnings
import numpy as np, chinchilla, chinchilla.core as core
from types import SimpleNamespace
warnings.filterwarnings("ignore")
job = json.load(open(sys.argv[1]))
grids = {k: np.array(v) for k, v in job["grids"].items()}
core.itertools = SimpleNamespace(product=lambda *axes: job["starts"])
ends, minimize = [], core.sciop.minimize
def recorded(*args, **kwargs):
    result = minimize(*args, **kwargs)
    ends.append(float(result.fun))
    return result
core.sciop = SimpleNamespace(minimize=recorded)
def on_log(y, p):
    r = np.abs(np.log(y) - np.log(p))
    return np.where(r <= 1e-3, r * r / 2, 1e-3 * (r - 5e-4))
options = {"loss_fn": on_log} if job["huber"] else {}
law = chinchilla.Chinchilla(job["folder"], param_grid=grids, log_level=50, **options)
for n, d, loss in job["runs"]:
    law.database.df.loc[len(law.database.df)] = {"C": 6 * n * d, "N": n, "D": d, "loss": loss}
wall, cpu = time.perf_counter(), time.process_time()
law.fit(parallel=False)
print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "ends": ends,
    "theta": [float(getattr(law, k)) for k in ("E", "A", "B", "alpha", "beta")]}))
"""


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(240, 2) parameters and tokens, and (240,) losses."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    n, flops, loss = (np.array([float(r[k]) for r in rows]) for k in ("Model Size", "Training FLOP", "loss"))
    kept = loss < np.sort(loss)[-5]
    return np.stack([n, flops / 6 / n], 1)[kept], loss[kept]


def timed(work: Callable[[], T]) -> tuple[T, float, float]:
    """(result, processor seconds, wall seconds)"""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def show(name: str, ends: np.ndarray, least: float, best: float, cpu: float, wall: float, total: int) -> None:
    share, each = float(np.mean(ends <= NEAR * least)), cpu / len(ends)
    print(
        f"{name:42s} {len(ends):5,d} starts  {share:6.1%} at the optimum  best {best:.10g}  "
        f"{cpu:6.1f} s processor, {wall:6.1f} s wall, {1e3 * each:6.1f} ms a start, "
        f"{each * total:6.1f} s for all",
        flush=True,
    )


def scipy_default(z: np.ndarray, y: np.ndarray, starts: np.ndarray, mean: bool) -> np.ndarray:
    """Ends of L-BFGS-B as SciPy does it unasked: finite differences, its own tolerances."""
    scale = 1 / len(y) if mean else 1.0
    surface = Additive()

    def objective(phi: np.ndarray) -> float:
        terms = phi[0] - phi[3] * z[:, 0], phi[1] - phi[4] * z[:, 1], phi[2]
        log = np.logaddexp(np.logaddexp(terms[0], terms[1]), terms[2])
        return scale * float(huber(log - y, DELTA).sum())

    ends = [optimize.minimize(objective, start, method="L-BFGS-B").x for start in starts]
    return huber(surface.log_loss(np.array(ends), z)[0] - y, DELTA).sum(1)


def rival(
    python: Path, inputs: np.ndarray, loss: np.ndarray, starts: np.ndarray, on_log: bool
) -> dict[str, Any]:
    grids = {
        "e": np.arange(-1, 1.1, 0.5), "a": np.arange(0, 26, 5), "b": np.arange(0, 26, 5),
        "alpha": np.arange(0, 2.1, 0.5), "beta": np.arange(0, 2.1, 0.5),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        job = {
            "folder": folder, "huber": on_log, "runs": np.column_stack([inputs, loss]).tolist(),
            "starts": starts[:, [2, 0, 1, 3, 4]].tolist(),
            "grids": {key: grid.tolist() for key, grid in grids.items()},
        }  # fmt: skip
        path, script = Path(folder) / "job.json", Path(folder) / "rival.py"
        path.write_text(json.dumps(job))
        script.write_text(RIVAL)
        done = subprocess.run([python, script, path], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("csv", type=Path)
    parser.add_argument("--starts-every", type=int, default=9, help="the rivals take every k-th start")
    parser.add_argument("--rival-python", type=Path, help="of an environment with `chinchilla`")
    options = parser.parse_args()
    inputs, loss = read(options.csv)
    surface, every = Additive(), options.starts_every
    starts, z, y = surface.starts(), np.log(inputs), np.log(loss)
    total = len(starts)
    print(f"{len(loss)} runs, {total:,} starts; the rivals take every {every}th: {len(starts[::every])}")
    fit, cpu, wall = timed(lambda: fit_surface(surface, inputs, loss))
    print(
        f"chemscale, whole fit with {len(fit.draws.phi):,} bootstrap refits: {cpu:.1f} s processor, "
        f"{wall:.1f} s wall; {fit.reached:.1%} of the starts at the optimum, objective {fit.objective:.13g}, "
        f"{fit.draws.converged.mean():.1%} of the draws converged"
    )
    few = fit_surface(surface, inputs, loss, starts=starts[::every], bootstrap=1)
    _, cpu, wall = timed(lambda: fit_surface(surface, inputs, loss, starts=starts[::every], bootstrap=1))
    ends = np.where(np.arange(few.starts) < round(few.reached * few.starts), few.objective, np.inf)
    show("chemscale, starts alone", ends, fit.objective, few.objective, cpu, wall, total)
    found, cpu, wall = timed(lambda: project(inputs, loss))
    print(f"variable projection: {found.status}, objective {found.objective:.13g}, {cpu:.2f} s processor")
    for mean in (False, True):
        ends, cpu, wall = timed(partial(scipy_default, z, y, starts[::every], mean))
        kind = "mean" if mean else "sum"
        show(f"SciPy L-BFGS-B, defaults, {kind}", ends, fit.objective, float(ends.min()), cpu, wall, total)
    for on_log in (True, False) if options.rival_python else ():
        out = rival(options.rival_python, inputs, loss, starts[::every], on_log)
        name = "chinchilla package, Huber of log loss" if on_log else "chinchilla package, as it is"
        ends = np.array(out["ends"])
        at_optimum = fit.objective / len(loss) if on_log else float(ends.min())
        theta = np.array(out["theta"])
        reached = huber(y - np.log(surface.value(theta, *inputs.T)), DELTA).sum()
        show(name, ends, at_optimum, float(reached), out["cpu"], out["wall"], total)
        print(f"  its law: {dict(zip(surface.parameters, theta.round(4).tolist(), strict=True))}")


if __name__ == "__main__":
    main()
