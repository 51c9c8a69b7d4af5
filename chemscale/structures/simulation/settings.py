"""What a simulation is asked to do, and its units of time and pressure as people write them."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

UNITS = {"fs": 1.0, "ps": 1e3, "ns": 1e6, "us": 1e9, "µs": 1e9}
"""Femtoseconds of each unit of time."""


class SimulationError(ValueError):
    """A simulation that cannot be run as asked; the message names the setting or atoms, and the way out."""


def femtoseconds(text: str, what: str) -> float:
    """Read a time with its unit.

    Args:
        text: such as ``0.5fs``, ``100 ps`` or ``1ns``.
        what: it is, for the message.

    Raises:
        SimulationError: no number, no unit of time, or nothing above 0.
    """
    found = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-zµ]+)\s*", str(text), re.IGNORECASE)
    try:
        value = float(found[1]) * UNITS[found[2].lower()] if found else math.nan
    except (KeyError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise SimulationError(
            f"{what} {text}: give a number above 0 with a unit, such as 0.5fs, 100ps or 1ns."
        )
    return value


def whole_steps(time: float, timestep: float, what: str) -> int:
    """Steps that a time takes.

    Args:
        time: fs.
        timestep: fs.
        what: the time is, for the message.

    Raises:
        SimulationError: it is no whole number of steps.
    """
    steps = round(time / timestep)
    if steps < 1 or abs(steps * timestep - time) > 1e-6 * time:
        raise SimulationError(f"{what} {time:g} fs is no whole number of steps of {timestep:g} fs.")
    return steps


@dataclass(frozen=True)
class Simulation:
    """Settings of a simulation.

    Args:
        ensemble: ``nve``, constant energy; ``nvt``, constant temperature; ``npt``, constant temperature and
            pressure, where the cell keeps its shape.
        steps: counted after equilibration.
        timestep: fs.
        temperature: K, of the thermostat, and of the momenta that are drawn.
        thermostat: of ``nvt``: ``bussi`` (stochastic velocity rescaling, which keeps the centre of mass at
            rest and has a conserved quantity) or ``langevin``.
        thermostat_time: fs; time in which the thermostat acts.
        pressure: bar, of ``npt``.
        barostat_time: fs; period of the barostat, of ``npt``.
        equilibrate: steps before the first that counts; with the thermostat for ``nve`` too.
        every: steps between rows of ``log.csv`` and frames of the trajectory.
        seed: of the momenta and the thermostat.
        keep_velocities: begin with the momenta of the start instead of drawn ones.
        stop_bond: a bond of the start ends the simulation where it is longer than this factor times its
            length at the start or the sum of covalent radii, whichever is longer; None for never.
        stop_temperature: times the temperature; the simulation ends above it. None for never.
        stop_uncertainty: eV/Å; it ends where a committee's forces on an atom have a larger standard
            deviation. None for never.

    Raises:
        SimulationError: a value that makes no sense.
    """

    ensemble: Literal["nve", "nvt", "npt"]
    steps: int
    timestep: float = 0.5
    temperature: float = 300.0
    thermostat: Literal["bussi", "langevin"] = "bussi"
    thermostat_time: float = 100.0
    pressure: float = 1.0
    barostat_time: float = 1000.0
    equilibrate: int = 0
    every: int = 20
    seed: int = 0
    keep_velocities: bool = False
    stop_bond: float | None = 1.5
    stop_temperature: float | None = 10.0
    stop_uncertainty: float | None = None

    def __post_init__(self) -> None:
        if self.ensemble not in ("nve", "nvt", "npt"):
            raise SimulationError(f"--ensemble {self.ensemble}: choose nve, nvt or npt.")
        if self.thermostat not in ("bussi", "langevin"):
            raise SimulationError(f"--thermostat {self.thermostat}: choose bussi or langevin.")
        if self.thermostat == "langevin" and self.ensemble != "nvt":
            raise SimulationError(
                f"--thermostat langevin goes with --ensemble nvt, not {self.ensemble}: npt has a chain of "
                "Nosé–Hoover thermostats, nve equilibrates with bussi."
            )
        positive = {
            "--timestep": self.timestep,
            "--temperature": self.temperature,
            "--thermostat-time": self.thermostat_time,
            "--barostat-time": self.barostat_time,
            "--steps": self.steps,
            "--every": self.every,
        }
        for name, value in positive.items():
            if not (math.isfinite(value) and value > 0):
                raise SimulationError(f"{name} {value:g}: must be above 0.")
        if not math.isfinite(self.pressure):
            raise SimulationError(f"--pressure {self.pressure}: must be a number of bar.")
        if self.equilibrate < 0:
            raise SimulationError(f"--equilibrate {self.equilibrate}: must not be below 0.")
        for name, limit, least in (
            ("--stop-bond", self.stop_bond, 1.0),
            ("--stop-temperature", self.stop_temperature, 1.0),
            ("--stop-uncertainty", self.stop_uncertainty, 0.0),
        ):
            if limit is not None and not limit > least:
                raise SimulationError(f"{name} {limit:g}: must be above {least:g}.")

    @property
    def time(self) -> float:
        """ps that count."""
        return self.steps * self.timestep / 1e3

    def decisive(self) -> dict[str, Any]:
        """All that decides the course of the simulation, which its length does not."""
        values = asdict(self)
        del values["steps"]
        return values


def from_text(
    *,
    ensemble: str,
    time: str | None,
    steps: int | None,
    timestep: str,
    times: dict[str, str],
    equilibrate: str | None,
    **others: Any,
) -> Simulation:
    """Settings whose times are written with their units.

    Args:
        ensemble: nve, nvt or npt.
        time: that counts, such as ``100ps``; or `steps`.
        steps: that count; or `time`.
        timestep: such as ``0.5fs``.
        times: further ones, by the name of the field.
        equilibrate: before the time that counts.
        others: further fields of `Simulation`.

    Raises:
        SimulationError: a time that makes no sense, or both or none of `time` and `steps`.
    """
    if (time is None) == (steps is None):
        raise SimulationError("Give one of --time (such as 100ps) and --steps.")
    step = femtoseconds(timestep, "--timestep")
    if time is not None:
        steps = whole_steps(femtoseconds(time, "--time"), step, "--time")
    before = (
        whole_steps(femtoseconds(equilibrate, "--equilibrate"), step, "--equilibrate") if equilibrate else 0
    )
    named = {key: femtoseconds(text, f"--{key.replace('_', '-')}") for key, text in times.items()}
    assert steps is not None
    return Simulation(ensemble, steps, timestep=step, equilibrate=before, **named, **others)  # type: ignore[arg-type]
