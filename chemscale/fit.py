"""A law and a report from runs or a CSV: ``python -m chemscale.fit RUNS_OR_CSV``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chemscale.errors import run_verb
from chemscale.records import RunRecord, State, find_records

if TYPE_CHECKING:
    from chemscale.laws.points import LawPoint
    from chemscale.laws.report import Report

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

CONVENTIONS = {"matrices": "parameters", "all": "all", "non_embedding": "non_embedding", "blocks": "blocks"}
AXES = ("parameters", "frames", "tokens", "flops")
HEADLINE_UNITS = ("nats_per_token", "forces_mae", "energy_mae_per_atom")
"""What a law is fitted to where no unit is asked for: the first that the runs have."""


@dataclass(frozen=True)
class FitOutcome:
    """What a fit leaves: text to print, the page, and ``law.json`` as a dictionary."""

    lines: list[str]
    report: Path
    law: dict[str, Any]


@app.command()
def fit(
    source: Annotated[Path, typer.Argument(help="A directory of runs, or a CSV file.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; RUNS/law, or CSV-law, if not given.")
    ] = None,
    axis: Annotated[
        str | None, typer.Option(help="parameters, frames, tokens or flops; else what varies.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="A loss of the runs, such as nats_per_molecule or energy_mae.")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="For a CSV: N=…,D=…,C=…,loss=….")] = None,
    bootstrap: Annotated[int, typer.Option(min=100, help="Draws of the bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Fit L(x) = α·x^(−β), with and without a floor, and write a report.

    Examples:

      python -m chemscale.fit runs/chemgpt_sizes

      python -m chemscale.fit my_runs.csv --columns N=params,loss=val_loss --out law
    """
    command = "python -m chemscale.fit " + shlex.join(sys.argv[1:])
    if source.is_dir():
        outcome = fit_runs(
            source, out=out, unit=unit, axis=axis, command=command, bootstrap=bootstrap, seed=seed
        )
    else:
        outcome = fit_csv(
            source, columns, out=out, axis=axis, command=command, bootstrap=bootstrap, seed=seed
        )
    for line in outcome.lines:
        typer.echo(line)
    typer.echo(f"Report: {outcome.report}")


def fit_runs(
    directory: Path,
    *,
    out: Path | None = None,
    unit: str | None = None,
    axis: str | None = None,
    only: Sequence[str] | None = None,
    command: str = "",
    bootstrap: int = 1000,
    seed: int = 0,
) -> FitOutcome:
    """Fit the records below a directory; runs that are not done are shown and left out.

    Runs of several families get a law each, side by side.

    Args:
        only: identities of the points that count; None for all.

    Raises:
        RecordError, PointsError: nothing there can be used.
    """
    from chemscale.laws.points import LawPoints, PointsError
    from chemscale.laws.report import Report

    directory = Path(directory)
    found = [(d, r) for d, r in find_records(directory) if only is None or r.identity in only]
    if not found:
        raise PointsError(f"{directory}: no run record below it. Give the directory of a sweep.")
    found.sort(key=lambda pair: _order(pair[1]))
    reached = {key for _, record in found if record.final for key in record.final.values}
    unit = unit or next((u for u in HEADLINE_UNITS if u in reached), HEADLINE_UNITS[0])
    points = LawPoints(tuple(_point(record, unit) for _, record in found), str(directory))
    done = next((r for _, r in found if r.state is State.DONE), found[0][1])
    hashes = sorted({r.data_hash for _, r in found})
    rungs: dict[str, list[LawPoint]] = {}
    for (_, record), point in zip(found, points.points, strict=True):
        rungs.setdefault(_rung(record), []).append(point)
    if len(rungs) > 1:
        return _fit_ladder(
            rungs, directory, axis, unit, out or directory / "law",
            runs=[_row(r) for _, r in found], command=command, data_hash=", ".join(hashes),
            versions=done.versions, bootstrap=bootstrap, seed=seed,
        )  # fmt: skip
    report = Report(
        title=f"{done.family} · {directory.name}",
        points=points,
        fits=[],
        axis="",
        unit=unit,
        refused=[],
        curves=[_curve(d, r, unit) for d, r in found],
        runs=[_row(r) for _, r in found],
        command=command,
        data_hash=", ".join(hashes),
        versions=done.versions,
    )
    if len(hashes) > 1:
        report.refused.append("These runs saw different data: their losses may not be comparable.")
    return _finish(report, axis, bootstrap, seed, out or directory / "law")


def _order(record: RunRecord) -> tuple[Any, ...]:
    """By size of the model, then of the data, then by seed."""
    data = record.data
    return record.parameters.matrices, data.unique_frames, data.unique_tokens, record.seed, record.identity


def _rung(record: RunRecord) -> str:
    """What runs have in common that one law may hold for: the family, and the degree of its features."""
    degree = record.config.get("model", {}).get("l_max")
    return record.family if degree is None else f"{record.family} l={degree}"


def _fit_ladder(
    rungs: dict[str, list[LawPoint]],
    directory: Path,
    axis: str | None,
    unit: str,
    out: Path,
    **details: Any,
) -> FitOutcome:
    from chemscale.laws.ladder import Ladder
    from chemscale.laws.points import LawPoints, varying_axis

    largest = max(rungs.values(), key=len)
    axis = axis or varying_axis(LawPoints(tuple(largest), str(directory)), ("frames", *AXES))
    ladder = Ladder(directory.name, rungs, axis, unit, str(directory), **details)
    page = ladder.write(out)
    return FitOutcome(ladder.lines(), page, ladder.law())


def fit_csv(
    path: Path,
    columns: str | None,
    *,
    out: Path | None = None,
    axis: str | None = None,
    command: str = "",
    bootstrap: int = 1000,
    seed: int = 0,
) -> FitOutcome:
    """Fit anyone's CSV.

    Raises:
        PointsError: the file, a column or a cell cannot be used.
    """
    from chemscale.laws.points import PointsError, read_csv
    from chemscale.laws.report import Report

    if not columns:
        raise PointsError(f"{path}: name its columns, for example --columns N=params,loss=val_loss.")
    pairs = [part.partition("=") for part in columns.split(",")]
    points = read_csv(path, {role.strip(): name for role, _, name in pairs})
    report = Report(path.stem, points, [], "", "loss", [], command=command)
    return _finish(report, axis, bootstrap, seed, out or path.with_name(f"{path.stem}-law"))


def _finish(report: Report, axis: str | None, bootstrap: int, seed: int, out: Path) -> FitOutcome:
    from chemscale.laws.points import PointsError, varying_axis

    known = {a for p in report.points.points for a in p.sizes}
    report.axis = axis or varying_axis(report.points, AXES)
    if report.axis not in known:
        raise PointsError(f"--axis {report.axis}: these points have {', '.join(sorted(known))}.")
    _fit_all(report, bootstrap, seed)
    page = report.write(out)
    return FitOutcome(report.lines(), page, report.law())


def _fit_all(report: Report, bootstrap: int, seed: int) -> None:
    from chemscale.laws.fitting import fit_forms, fit_power_law

    x, y = report.points.used(report.axis, report.unit)
    report.fits, refused = fit_forms(x, y, bootstrap=bootstrap, seed=seed)
    report.refused += refused
    if report.axis == "parameters" and report.fits:
        for name in ("blocks", "non_embedding", "all"):
            if all(name in p.sizes for p in report.points.points if p.used):
                sizes, losses = report.points.used(name, report.unit)
                report.conventions.append((name, fit_power_law(sizes, losses, bootstrap=100, seed=seed)))


def _point(record: RunRecord, unit: str) -> LawPoint:
    from chemscale.laws.points import LawPoint, PointsError

    values = dict(record.final.values) if record.final else {}
    done = record.state is State.DONE
    if done and unit not in values:
        raise PointsError(f"--unit {unit}: run {record.identity} has {', '.join(values)}.")
    counts = vars(record.parameters)
    sizes = {axis: float(counts[name]) for name, axis in CONVENTIONS.items()}
    sizes |= {
        "frames": float(record.data.unique_frames),
        "tokens": float(record.data.tokens),
        "flops": float(record.compute.flops),
    }
    reason = "" if done else f"{record.state.value} {record.reason}".strip()
    return LawPoint(record.name, {k: v for k, v in sizes.items() if v > 0}, values, record.seed, done, reason)


def _curve(directory: Path, record: RunRecord, unit: str) -> dict[str, Any]:
    rows = [r for r in record.curve_rows(directory) if r.get("kind") == "validation" and unit in r]
    return {
        "label": f"{record.name} (N = {record.parameters.matrices:,})",
        "seen": [r.get("tokens", r.get("frames")) for r in rows],
        "unit": "tokens" if any("tokens" in r for r in rows) else "frames",
        "loss": [r[unit] for r in rows],
    }


LOSSES = {
    "nats_per_token": ("nats/token", 4),
    "nats_per_molecule": ("nats/molecule", 4),
    "nats_per_heavy_atom": ("nats/heavy atom", 4),
    "energy_mae": ("E MAE (meV)", 2),
    "energy_mae_per_atom": ("E MAE (meV/atom)", 3),
    "energy_rmse": ("E RMSE (meV)", 2),
    "forces_mae": ("F MAE (meV/Å)", 2),
    "forces_rmse": ("F RMSE (meV/Å)", 2),
}
RATES = {"tokens_per_second": "tokens/s", "atoms_per_second": "atoms/s"}


def _row(record: RunRecord) -> dict[str, str]:
    values = record.final.values if record.final else {}
    seen = {"tokens": "tokens", "molecules": "molecules", "frames": "frames seen", "atoms": "atoms seen"}
    rates = {key: value for key, value in record.truth.items() if key in RATES}
    return {
        "run": record.name,
        "N, matrices": f"{record.parameters.matrices:,}",
        "blocks": f"{record.parameters.blocks:,}",
        "non-embedding": f"{record.parameters.non_embedding:,}",
        "all": f"{record.parameters.all:,}",
        **({"capacity": f"{record.parameters.capacity:,}"} if record.parameters.capacity else {}),
        **({"frames": f"{record.data.unique_frames:,}"} if record.data.unique_frames else {}),
        **{
            title: f"{getattr(record.data, unit):,}"
            for unit, title in seen.items()
            if getattr(record.data, unit)
        },
        "epochs": f"{record.data.epochs:.2f}",
        "FLOP counted": f"{record.compute.flops:.3e}",
        "6ND": f"{record.compute.flops_6nd:.3e}",
        **{title: f"{values[unit]:.{digits}f}" for unit, (title, digits) in LOSSES.items() if unit in values},
        "best": f"{record.best.objective:.4g}" if record.best else "",
        **{RATES[key]: f"{value:,.0f}" for key, value in rates.items()},
        "seconds": f"{record.compute.seconds:,.0f}",
        "seed": str(record.seed),
        "state": f"{record.state.value} {record.reason}".strip(),
    }


def main() -> None:
    run_verb(app)


if __name__ == "__main__":
    main()
