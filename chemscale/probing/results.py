"""What a probe found: measures with intervals, beside a baseline, as JSON and as lines for a person."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.files import write_json
from chemscale.probing.data import LabelledMolecules, ProbeError
from chemscale.probing.measures import (
    MEASURES,
    bootstrap,
    bootstrap_interval,
    jackknife,
    over_tasks,
    per_task,
    seed_interval,
)
from chemscale.probing.splits import Split

SCHEMA = 1
NAMES = {
    "embedding": "frozen embedding",
    "morgan": "Morgan fingerprint",
    "fine-tuned": "fine-tuned",
}
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Outcome:
    """One measure of one way to predict.

    Args:
        features: embedding | morgan | fine-tuned.
        measure: ROC-AUC | RMSE | MAE.
        value: mean over seeds (of the mean over tasks).
        over_seeds: 95 % interval of the mean by Student's t; None for fewer than three seeds.
        over_molecules: 95 % interval by bootstrap (BCa) over the test molecules of every seed, what was
            trained held fixed; None where it is not defined.
        seeds: value of each seed.
        tasks: mean over seeds of each task; NaN where it is not defined.
        minus_morgan: of the difference to the fingerprint on the same draws: its value and interval.
    """

    features: str
    measure: str
    value: float
    over_seeds: Interval
    over_molecules: Interval
    seeds: list[float]
    tasks: dict[str, float]
    minus_morgan: tuple[float, Interval] | None = None


@dataclass(frozen=True)
class ProbeResult:
    """The content of ``probe-NAME.json``.

    Args:
        name: of the probe.
        request: what decides every number.
        data: rows, how many were used, why others were not, tasks and kind.
        splits: rule and id of each seed's split, and sizes of its parts.
        outcomes: all measures.
        fits: strengths of the heads, and epochs of fine-tuning, by features and seed.
        schema_version: of this file.
        notes: what a reader should know.
    """

    name: str
    request: dict[str, Any]
    data: dict[str, Any]
    splits: list[dict[str, Any]]
    outcomes: list[Outcome]
    fits: dict[str, list[Any]]
    schema_version: int = SCHEMA
    notes: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it as JSON; NaN becomes null."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> ProbeResult:
        """Read what ``save`` wrote.

        Raises:
            ProbeError: it is damaged, or of another version.
        """
        try:
            raw = json.loads(path.read_text())
            if raw["schema_version"] != SCHEMA:
                raise ProbeError(f"{path}: written by another version ({raw['schema_version']}).")
            return cls(**{**raw, "outcomes": [_outcome(each) for each in raw["outcomes"]]})
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ProbeError(f"{path}: damaged ({error}). Remove it, or choose another --name.") from None

    def of(self, features: str, measure: str | None = None) -> Outcome:
        """The outcome of one way to predict; of its first measure unless another is named.

        Args:
            features: embedding | morgan | fine-tuned.
            measure: ROC-AUC | RMSE | MAE.
        """
        return next(
            each for each in self.outcomes if each.features == features and measure in (None, each.measure)
        )

    def lines(self) -> list[str]:
        """Lines for a person."""
        d, first = self.data, self.splits[0]
        tasks = f"{len(d['tasks'])} tasks" if len(d["tasks"]) > 1 else d["tasks"][0]
        out = [f"{d['used']:,} of {d['rows']:,} molecules, {d['kind']}: {tasks}"]
        out += [f"  not {count:,}: {reason}" for reason, count in d["left_out"].items()]
        if d["repeated"]:
            out.append(f"  {d['repeated']:,} rows repeat a molecule: they stand in the same part")
        sizes = " / ".join(f"{first[part]:,}" for part in ("train", "validation", "test"))
        ids = ", ".join(split["id"] for split in self.splits)
        out.append(f"split {first['rule']} {sizes}, id {ids}")
        for each in self.outcomes:
            out.append(_line(each))
        return out + self.notes


def _outcome(raw: dict[str, Any]) -> Outcome:
    def interval(value: Any) -> Interval:
        return None if value is None else (float(value[0]), float(value[1]))

    difference = raw["minus_morgan"]
    number = {key: math.nan if value is None else value for key, value in raw["tasks"].items()}
    return Outcome(
        raw["features"],
        raw["measure"],
        math.nan if raw["value"] is None else raw["value"],
        interval(raw["over_seeds"]),
        interval(raw["over_molecules"]),
        [math.nan if value is None else value for value in raw["seeds"]],
        number,
        None if difference is None else (difference[0], interval(difference[1])),
    )


def _line(each: Outcome) -> str:
    def between(interval: Interval) -> str:
        return "no interval" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"

    if math.isnan(each.value):
        what = "no task has both classes in the training and in the test part"
        return f"{NAMES[each.features]:20s} {each.measure:8s} not defined: {what}"
    text = f"{NAMES[each.features]:20s} {each.measure:8s} {each.value:.3f}"
    text += f"  test molecules {between(each.over_molecules)}"
    if each.over_seeds is not None:
        text += f", {len(each.seeds)} seeds {between(each.over_seeds)}"
    if each.minus_morgan is not None:
        value, interval = each.minus_morgan
        text += f"; minus Morgan {value:+.3f} ({between(interval)})"
    undefined = sum(math.isnan(value) for value in each.tasks.values())
    return text + (f"; {undefined} tasks not defined" if undefined else "")


def outcomes_of(
    data: LabelledMolecules, splits: Sequence[Split], found: dict[str, list[np.ndarray]], draws: int
) -> list[Outcome]:
    """All measures of all ways to predict.

    Args:
        data: molecules and labels.
        splits: one a seed.
        found: (n, T) predictions by features, one a seed; those of a single seed where nothing is drawn.
        draws: of the bootstrap.
    """
    out = []
    for name, measure in MEASURES[data.kind].items():
        values: dict[str, list[np.ndarray]] = {}
        drawn: dict[str, np.ndarray] = {}
        moved: dict[str, dict[str, np.ndarray]] = {}
        several = {key: [each[i % len(each)] for i in range(len(splits))] for key, each in found.items()}
        for i, split in enumerate(splits):
            test = split.members(2)
            labels, keys = data.labels[test], list(several)
            predictions = [several[key][i][test] for key in keys]
            one = np.ones((1, len(test)))
            # Of one test part the draws are the same for all seeds: its molecules vary once.
            boot = bootstrap(measure, labels, predictions, draws, seed=int(split.id, 16))
            without = jackknife(measure, labels, predictions)
            for key, each, sample, moves in zip(keys, predictions, boot, without, strict=True):
                values.setdefault(key, []).append(per_task(measure, labels, each, one)[0])
                drawn[key] = drawn.get(key, 0) + sample / len(splits)
                parts = moved.setdefault(key, {})
                parts[split.id] = parts.get(split.id, 0) + moves / len(splits)
        moves_of = {key: np.concatenate(list(parts.values())) for key, parts in moved.items()}
        for key, each_task in values.items():
            seeds = [float(over_tasks(each[None])[0]) for each in each_task[: len(found[key])]]
            value = float(np.mean(seeds))
            difference: tuple[float, Interval] | None = None
            if key != "morgan":
                other = [float(over_tasks(each[None])[0]) for each in values["morgan"]]
                gap = value - float(np.mean(other))
                moves = moves_of[key] - moves_of["morgan"]
                difference = gap, bootstrap_interval(drawn[key] - drawn["morgan"], gap, moves)
            mean = over_tasks(np.asarray(each_task).T)
            out.append(
                Outcome(
                    key,
                    name,
                    value,
                    seed_interval(seeds),
                    bootstrap_interval(drawn[key], value, moves_of[key]),
                    seeds,
                    dict(zip(data.tasks, map(float, mean), strict=True)),
                    difference,
                )
            )
    return out
