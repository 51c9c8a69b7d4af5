"""The optimiser on tasks of PMO: the best ten against oracle calls, beside what the prior draws by itself.

python benchmarks/optimise.py PRIOR [--tasks qed celecoxib_rediscovery albuterol_similarity]
    [--budget 1000] [--seeds 0 1 2] [--methods reinvent ahc] [--out FOLDER] [--set KEY=VALUE …]

PRIOR is a finished run or a model folder. What --set names goes to the optimiser; PMO's search over settings
chose σ = 500 for REINVENT (--set sigma=500 batch=24). The prior's own draws are scored in the order of their
draw, each molecule once, as many as the budget has. The same command goes on where it was stopped. Written
to --out: results.json, curves.png and curves.svg.

Scores are those of PMO (QED; counted ECFP4 to celecoxib; counted FCFP4 to albuterol, 0.75 being full), and so
is the AUC. Published: AUC top-10 at 10,000 calls, mean and standard deviation of five runs, of W. Gao, T. Fu,
J. Sun and C. W. Coley, Sample Efficiency Matters, NeurIPS Datasets and Benchmarks 2022 (arXiv 2206.12411);
their priors were trained on ZINC-250k. An AUC depends on its budget: only those at 10,000 calls may be laid
beside the published ones, and the table says where they are not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from chemscale.common.files import write_json
from chemscale.common.logs import show_logs
from chemscale.laws.reports.plotting import BLUE, VERMILION, close, new_figure, save, style
from chemscale.molecules.conditions import open_prefix
from chemscale.molecules.generation.sampling import Sampling
from chemscale.molecules.loading import load_trained
from chemscale.reinforcement.curves import area_under_curve, top_curve
from chemscale.reinforcement.journal import Journal
from chemscale.reinforcement.oracle import Oracle
from chemscale.reinforcement.policy import draw
from chemscale.reinforcement.run import optimise
from chemscale.reinforcement.scoring.score import as_score

CELECOXIB = "CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F"
ALBUTEROL = "CC(C)(C)NCC(O)c1ccc(O)c(CO)c1"
TASKS = {
    "qed": "QED",
    "celecoxib_rediscovery": f"similarity smiles={CELECOXIB} fingerprint=ECFP4",
    "albuterol_similarity": f"similarity smiles={ALBUTEROL} fingerprint=FCFP4 transform=linear:0,0.75",
}
PUBLISHED = {
    "qed": {"REINVENT": (0.941, 0.000), "SELFIES-REINVENT": (0.940, 0.000)},
    "celecoxib_rediscovery": {"REINVENT": (0.713, 0.067), "SELFIES-REINVENT": (0.573, 0.043)},
    "albuterol_similarity": {"REINVENT": (0.882, 0.006), "SELFIES-REINVENT": (0.826, 0.030)},
}
PUBLISHED_CALLS = 10_000
ALONE = "prior alone"
MAX_DRAWS = 20
"""Batches without a new molecule after which the prior's draws end."""


def draws_of_the_prior(prior: str, task: str, budget: int, seed: int, folder: Path) -> list[float]:
    """Scores of the prior's own molecules, each once, in the order of their draw."""
    folder.mkdir(parents=True, exist_ok=True)
    score = as_score(TASKS[task])
    journal = Journal(folder / "molecules.csv", score.labels)
    model, tokenizer = load_trained(Path(prior))
    how, opening = Sampling(max_length=256), open_prefix(tokenizer)
    idle, step = 0, max((row.step for row in journal.rows.values()), default=0)
    with Oracle(score, journal, budget) as oracle:
        while oracle.left and idle < MAX_DRAWS:
            step, before = step + 1, len(journal)
            drawn = draw(model, tokenizer, 64, how, opening=opening, seed=seed, step=step)
            oracle.ask([each.smiles for each in drawn if each.smiles], step)
            idle = 0 if len(journal) > before else idle + 1
    return [row.score for row in journal.rows.values()]


def run_all(arguments: argparse.Namespace, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Every task, way and seed; what is done already is read."""
    results = []
    for task in arguments.tasks:
        for way in (ALONE, *arguments.methods):
            for seed in arguments.seeds:
                folder = arguments.out / task / way.replace(" ", "-") / str(seed)
                began = time.monotonic()
                if way == ALONE:
                    scores = draws_of_the_prior(arguments.prior, task, arguments.budget, seed, folder)
                else:
                    how = {"diversity": "none", **settings, "method": way, "seed": seed}
                    optimise(arguments.prior, TASKS[task], folder, budget=arguments.budget, **how)
                    rows = Journal(folder / "molecules.csv", as_score(TASKS[task]).labels).rows.values()
                    scores = [row.score for row in rows]
                curve = top_curve(scores)
                results.append(
                    {
                        "task": task,
                        "way": way,
                        "seed": seed,
                        "calls": len(scores),
                        **{f"top{k}": value for k, value in curve[-1].means.items()},
                        "auc_top10": area_under_curve(scores, arguments.budget),
                        "seconds": time.monotonic() - began,
                        "curve": [(point.calls, point.means[10]) for point in curve],
                    }
                )
                last = results[-1]
                print(
                    f"{task:22s} {way:12s} seed {seed}: {last['calls']:6,} calls, {last['seconds']:.0f} s, "
                    f"top-10 {last['top10']:.3f}, AUC top-10 {last['auc_top10']:.3f}",
                    flush=True,
                )
    return results


def spread(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


def show(results: list[dict[str, Any]], budget: int) -> None:
    """Print the table of tasks and ways, and the published figures under each task."""
    print(f"\n{'task':22s} {'way':26s} {'top-10 at the end':>18s} {'AUC top-10':>16s}   calls")
    for task in dict.fromkeys(row["task"] for row in results):
        for way in dict.fromkeys(row["way"] for row in results):
            rows = [row for row in results if (row["task"], row["way"]) == (task, way)]
            top, area = spread([r["top10"] for r in rows]), spread([r["auc_top10"] for r in rows])
            calls = min(row["calls"] for row in rows)
            print(f"{task:22s} {way:26s} {top:>18s} {area:>16s}   {calls:,} of {budget:,}")
        for name, (mean, deviation) in PUBLISHED[task].items():
            published, source = f"{mean:.3f} ± {deviation:.3f}", f"{name}, Gao 2022"
            print(f"{task:22s} {source:26s} {'':>18s} {published:>16s}   {PUBLISHED_CALLS:,}")
    if budget != PUBLISHED_CALLS:
        print(f"\nAUC at {budget:,} calls is not the published one, which is at {PUBLISHED_CALLS:,}.")


def draw_curves(results: list[dict[str, Any]], path: Path) -> None:
    """The best ten against calls, a panel a task and a line a seed."""
    tasks = list(dict.fromkeys(row["task"] for row in results))
    ways = list(dict.fromkeys(row["way"] for row in results))
    colors = dict(zip(ways, ("#777777", BLUE, VERMILION), strict=False))
    with style():
        figure, axes = new_figure(2.4, columns=len(tasks), width=2.6 * len(tasks), squeeze=False)
        for panel, task in zip(axes[0], tasks, strict=True):
            for row in (r for r in results if r["task"] == task):
                first = row["seed"] == results[0]["seed"]
                panel.plot(
                    *zip(*row["curve"], strict=True),
                    color=colors[row["way"]],
                    label=row["way"] if first else None,
                )
            panel.set(title=task, xlabel="oracle calls", ylabel="mean of the best ten", ylim=(0, 1.02))
        axes[0][0].legend(loc="lower right")
    save(figure, path)
    close(figure)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prior")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=("reinvent", "ahc"), default=["reinvent"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("optimise-benchmark"))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the optimiser")
    arguments = parser.parse_args()
    show_logs()
    settings = {key: _value(text) for key, _, text in (word.partition("=") for word in arguments.set)}
    results = run_all(arguments, settings)
    write_json(
        arguments.out / "results.json", {"prior": arguments.prior, "settings": settings, "results": results}
    )
    show(results, arguments.budget)
    draw_curves(results, arguments.out / "curves.png")
    print(f"\nWritten to {arguments.out}/results.json and curves.png")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


if __name__ == "__main__":
    main()
