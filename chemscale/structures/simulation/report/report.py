"""The report of a simulation: drift, temperature, pressure, distances and bonds, each with its error."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.files import atomic_write, write_json
from chemscale.structures.simulation.folder import LOG, SETTINGS, START, TRAJECTORY, read_log
from chemscale.structures.simulation.observables import Distances, Structures, observe
from chemscale.structures.simulation.report.page import write_page
from chemscale.structures.simulation.series import Estimate, mean, slope
from chemscale.structures.simulation.settings import Simulation
from chemscale.structures.simulation.stops import Bonds

CONSERVED = {
    "nve": "total energy",
    "npt": "energy of atoms, thermostats, barostat and pV",
    "bussi": "total energy less that of the thermostat",
    "langevin": "none (ASE does not count the heat of Langevin's random forces)",
}


@dataclass(frozen=True)
class BondLength:
    """A bond of the start along the simulation.

    Args:
        name: such as C0-H3.
        start: Å.
        mean: Å.
        deviation: Å, standard.
        longest: Å.
    """

    name: str
    start: float
    mean: float
    deviation: float
    longest: float


@dataclass
class Report:
    """Numbers of a simulation.

    Args:
        ended: why it ended.
        complete: whether it ran as long as it was asked to.
        steps: that count.
        time: ps.
        atoms: how many.
        conserved: what is conserved, in words.
        drift: of that, meV an atom and ns.
        temperature: K.
        wanted_temperature: K; None for constant energy.
        volume: Å³, of ``npt``.
        pressure: bar, of ``npt``.
        uncertainty: largest standard deviation of a committee's forces on an atom, eV/Å: mean over rows.
        bonds: of the start.
        distances: of each pair of elements.
        frames: that distances and bonds were measured in.
        notes: sentences on what to mind.
    """

    ended: str
    complete: bool
    steps: int
    time: float
    atoms: int
    conserved: str
    drift: Estimate
    temperature: Estimate
    wanted_temperature: float | None
    volume: Estimate | None = None
    pressure: Estimate | None = None
    uncertainty: Estimate | None = None
    bonds: list[BondLength] = field(default_factory=list)
    distances: list[Distances] = field(default_factory=list)
    frames: int = 0
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The table as text."""
        rows = [
            ("ended", self.ended),
            ("simulated", f"{self.time:g} ps, {self.steps:,} steps, {self.atoms} atoms"),
            ("drift", f"{self.drift.text('meV/atom/ns')} of the {self.conserved}"),
            ("temperature", self.temperature.text("K", 4) + self._wanted()),
        ]
        if self.drift.value != self.drift.value:
            rows[2] = ("drift", f"not known; conserved: {self.conserved}")
        for name, estimate, unit in (
            ("volume", self.volume, "Å³"),
            ("pressure", self.pressure, "bar"),
            ("committee", self.uncertainty, "eV/Å, largest deviation of forces"),
        ):
            if estimate is not None:
                rows.append((name, estimate.text(unit, 4)))
        out = [f"{name:12s} {text}" for name, text in rows]
        if self.bonds:
            out += ["", f"{'bond':12s} {'start':>7s} {'mean':>7s} {'std':>7s} {'longest':>8s}  Å"]
            out += [
                f"{b.name:12s} {b.start:7.3f} {b.mean:7.3f} {b.deviation:7.3f} {b.longest:8.3f}"
                for b in self.bonds
            ]
        return [*out, *(["", *self.notes] if self.notes else [])]

    def _wanted(self) -> str:
        return "" if self.wanted_temperature is None else f" ({self.wanted_temperature:g} K asked for)"


def make_report(folder: Path, settings: Simulation, bonds: Bonds, ended: str, step: int) -> Report:
    """Read what a simulation left and write ``report.html``, ``report.json`` and ``report.txt``.

    Args:
        folder: of the simulation.
        settings: of the simulation.
        bonds: of the start.
        ended: why it ended before its time; empty where it did not.
        step: that was taken last.
    """
    columns = read_log(folder / LOG)
    structures = observe(folder / TRAJECTORY, len(columns["step"]), bonds)
    report = summarise(columns, structures, folder, settings, bonds, ended, step)
    with atomic_write(folder / "report.txt") as file:
        file.write("\n".join(report.lines()) + "\n")
    description = json.loads((folder / SETTINGS).read_text())
    write_json(folder / "report.json", _plain(report, description))
    write_page(folder / "report.html", folder.name, report, columns, structures, description)
    return report


def summarise(
    columns: dict[str, np.ndarray],
    structures: Structures,
    folder: Path,
    settings: Simulation,
    bonds: Bonds,
    ended: str,
    step: int,
) -> Report:
    """The numbers of a report.

    Args:
        columns: of the log.
        structures: of the trajectory.
        folder: with the start.
        settings: of the simulation.
        bonds: of the start.
        ended: why it ended before its time.
        step: that was taken last.
    """
    from ase.io import read

    numbers = read(folder / START).numbers  # type: ignore[union-attr]
    # The last row of a simulation that blew up says nothing of what came before.
    rows = slice(None, -1) if ended and len(columns["step"]) > 1 else slice(None)
    values = {key: column[rows] for key, column in columns.items()}
    times = values["time_ps"] / 1e3
    drift = slope(times, 1e3 * values["conserved_eV"] / len(numbers))
    kind = settings.thermostat if settings.ensemble == "nvt" else settings.ensemble
    report = Report(
        ended=ended or "all steps are done",
        complete=not ended,
        steps=step,
        time=step * settings.timestep / 1e3,
        atoms=len(numbers),
        conserved=CONSERVED[kind],
        drift=drift,
        temperature=mean(values["temperature_K"]),
        wanted_temperature=None if settings.ensemble == "nve" else settings.temperature,
        bonds=_bond_lengths(structures, bonds, numbers),
        distances=structures.distances,
        frames=structures.frames,
    )
    if settings.ensemble == "npt":
        report.volume, report.pressure = mean(values["volume_A3"]), mean(values["pressure_bar"])
    if np.isfinite(values["forces_std_max"]).any():
        report.uncertainty = mean(values["forces_std_max"])
    report.notes = _notes(report, settings, values)
    return report


def _bond_lengths(structures: Structures, bonds: Bonds, numbers: np.ndarray) -> list[BondLength]:
    if not len(structures.lengths):
        return []
    lengths = structures.lengths
    return [
        BondLength(
            bonds.name(b, numbers),
            float(bonds.lengths[b]),
            float(lengths[:, b].mean()),
            float(lengths[:, b].std()),
            float(lengths[:, b].max()),
        )
        for b in range(lengths.shape[1])
    ]


def _notes(report: Report, settings: Simulation, values: dict[str, np.ndarray]) -> list[str]:
    notes = []
    if ended_early := report.ended if not report.complete else "":
        notes.append(f"Ended before its time: {ended_early} Its last row is left out of means and the drift.")
    unsettled = [
        name
        for name, estimate in (("the drift", report.drift), ("the temperature", report.temperature))
        if np.isfinite(estimate.value) and not estimate.settled
    ]
    if unsettled:
        notes.append(
            f"Too short for the error of {' and '.join(unsettled)}: correlations reach over the whole of it, "
            "or it wanders (forces in float32 do that to the energy). The error is a lower bound."
        )
    wanted = report.wanted_temperature
    found = report.temperature
    if wanted is not None and found.settled and abs(found.value - wanted) > found.half_width:
        notes.append(
            f"The mean temperature differs from {wanted:g} K by more than its interval of 95 % allows: leave "
            "out the time it takes to get there (--equilibrate)."
        )
    left_out = int((~np.isfinite(values["temperature_K"])).sum())
    if left_out:
        notes.append(f"Rows of the log that are not finite: {left_out}.")
    return notes


def _plain(report: Report, description: dict[str, Any]) -> dict[str, Any]:
    values = asdict(report)
    values["distances"] = [
        {"pair": d.name, "r_A": d.r.tolist(), "values": d.values.tolist(), "normalised": d.normalised}
        for d in report.distances
    ]
    return {"schema_version": 1, **values, "simulation": description}
