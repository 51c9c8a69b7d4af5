"""Sweeps over settings replayed: what each policy would have saved and missed.

Every sweep is replayed with a population of all the others, as if it were a user's first; and again with
random parts of its settings, for more than one replay a sweep. `python -m benchmarks.early_stopping` replays
the reference sweeps of the package, `… RUNS/SWEEP …` sweeps of records; `--write` makes the reference file of
these.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.simulated_settings import simulated_sweep
from chemscale.laws.data.curves import TrainingCurve
from chemscale.laws.early_stopping.policies import usual_policies
from chemscale.laws.early_stopping.reference import PATH, population, reference_sweeps, to_json
from chemscale.laws.early_stopping.replay import Outcome, Policy, Rungs, replay
from chemscale.laws.early_stopping.rule import RUNGS, Rule
from chemscale.laws.early_stopping.rungs import RungTable
from chemscale.laws.early_stopping.transitions import pool

Sweep = Sequence[TrainingCurve]


@dataclass
class Tally:
    """Outcomes of one policy on one sweep: the whole of it, then parts of it."""

    whole: Outcome
    parts: list[Outcome] = field(default_factory=list)

    def row(self, tolerance: float) -> str:
        """Cells of a table."""
        saved = [each.saved for each in self.parts]
        regret = [each.relative_regret for each in self.parts]
        lost = sum(each > tolerance for each in regret)
        cells = f"{self.whole.saved:.0%} | {len(self.whole.finished)} | {self.whole.relative_regret:.2%}"
        if not self.parts:
            return cells
        return f"{cells} | {np.mean(saved):.0%} | {np.mean(regret):.2%} | {lost} of {len(self.parts)}"


def policies(rule: Rule, others: Sequence[Sweep]) -> list[Policy]:
    """Ours and the others'."""
    tables = [RungTable.of(curves, rule.rungs, rule.by) for curves in others]
    return [Rungs(rule, pool(tables)), *usual_policies()]


def parts_of(curves: Sweep, count: int, share: float) -> list[Sweep]:
    """Random parts of a sweep, its best setting in or out as it falls."""
    random = np.random.default_rng(0)
    size = round(share * len(curves))
    return [[curves[n] for n in np.sort(random.permutation(len(curves))[:size])] for _ in range(count)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--parts", type=int, default=20)
    parser.add_argument("--part", type=float, default=0.75)
    parser.add_argument("--risk", type=float, default=0.05)
    parser.add_argument("--tolerance", type=float, default=0.005)
    parser.add_argument("--estimator", default="validation")
    parser.add_argument("--rungs", default=",".join(map(str, RUNGS)))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--ours", action="store_true", help="no other policies")
    parser.add_argument("--simulate", type=int, default=0, metavar="SWEEPS")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(argv)
    sweeps = read(options.runs, write=options.write) if options.runs else reference_sweeps()
    if options.write:
        return
    rungs = tuple(float(share) for share in options.rungs.split(","))
    rule = Rule(rungs, risk=options.risk, tolerance=options.tolerance, estimator=options.estimator)
    if options.simulate:
        simulate(rule, options.simulate, options.workers)
        return
    print("| sweep | policy | saved | finished | regret | parts: saved | regret | lost |")
    print("|---|---|---|---|---|---|---|---|")
    ours: list[Tally] = []
    for name, curves in sweeps.items():
        began = time.monotonic()
        others = [each for other, each in sweeps.items() if other != name]
        chosen = policies(rule, others)[: 1 if options.ours else None]
        parts = parts_of(curves, options.parts, options.part)
        for policy in chosen:
            tally = Tally(replay(curves, policy, workers=options.workers))
            tally.parts = [replay(part, policy, workers=options.workers) for part in parts]
            print(f"| {name} ({len(curves)}) | {policy.title} | {tally.row(rule.tolerance)} |", flush=True)
            if isinstance(policy, Rungs):
                ours.append(tally)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    regrets = [each.relative_regret for tally in ours for each in tally.parts]
    saved = [tally.whole.saved for tally in ours]
    lost = sum(each > rule.tolerance for each in regrets)
    print(
        f"\nOurs: {np.mean(saved):.0%} saved of whole sweeps, lost {lost} of {len(regrets)} parts, "
        f"mean regret {np.mean(regrets) if regrets else 0:.2%}."
    )


def simulate(rule: Rule, count: int, workers: int) -> None:
    """Sweeps whose truth is drawn (``benchmarks.simulated_settings``), judged by the reference sweeps."""
    chosen: list[Policy] = [Rungs(rule, population(rule)), *usual_policies()]
    print("| policy | saved | mean regret | lost |\n|---|---|---|---|")
    for policy in chosen:
        outcomes = [replay(simulated_sweep(seed), policy, workers=workers) for seed in range(count)]
        regrets = [each.relative_regret for each in outcomes]
        lost = sum(each > rule.tolerance for each in regrets)
        saved = np.mean([each.saved for each in outcomes])
        print(f"| {policy.title} | {saved:.0%} | {np.mean(regrets):.2%} | {lost} of {count} |", flush=True)


def read(folders: Sequence[Path], *, write: bool) -> dict[str, Sweep]:
    """Sweeps of records; written as the reference file where that is asked for."""
    from chemscale.analysis.early_stopping import curves_of, headline
    from chemscale.records import State, find_records

    found: dict[str, Sweep] = {}
    kept = {}
    for folder in folders:
        records = [pair for pair in find_records(folder) if pair[1].state is State.DONE]
        unit = headline(record for _, record in records)
        found[folder.name] = curves_of(records, unit)
        kept[folder.name] = to_json(found[folder.name], unit)
    if write:
        PATH.write_text(json.dumps(kept) + "\n")
    return found


if __name__ == "__main__":
    main()
