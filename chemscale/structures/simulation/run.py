"""A simulation from its start, or from where it was interrupted, to its report."""

from __future__ import annotations

import logging
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator

from chemscale.common.progress import ProgressBar
from chemscale.structures.calculator import ChemscaleCalculator
from chemscale.structures.simulation.dynamics import BAR, Integrator, integrator
from chemscale.structures.simulation.folder import Folder, State, hash_of
from chemscale.structures.simulation.report.report import Report, make_report
from chemscale.structures.simulation.settings import Simulation, SimulationError
from chemscale.structures.simulation.start import check_start, read_start, set_in_motion, temperature_of
from chemscale.structures.simulation.stops import Bonds, Stops, committee_spread

log = logging.getLogger(__name__)

SAVE_EVERY = 20.0
"""Seconds between saved states: what a killed process loses at most."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Outcome:
    """What came of a simulation.

    Args:
        step: that was taken last.
        ended: why it ended before its time; empty where it did not.
        interrupted: name of the signal that it was interrupted by; empty where it was not.
        report: of a simulation that is over; None where it was interrupted.
    """

    step: int
    ended: str
    interrupted: str
    report: Report | None


def simulate(
    model: str | Path | Calculator,
    start: str | Path | Atoms,
    out: str | Path,
    settings: Simulation,
    *,
    charge: int | None = None,
    spin: int | None = None,
    device: str | None = None,
    dtype: torch.dtype | str | None = None,
    options: dict[str, Any] | None = None,
    progress: bool = True,
) -> Outcome:
    """Simulate, or go on with a simulation that was interrupted.

    The folder `out` gets ``log.csv``, ``trajectory.extxyz``, ``state.npz`` and, at the end,
    ``report.html``, ``report.json`` and ``report.txt``. Called again with the same model, start and settings
    it goes on, to the same bits on the same machine and software; with more ``steps`` it lengthens a
    simulation that is done.

    Args:
        model: a run (its directory, or RUNS/SWEEP/NAME), a model folder, or any ASE calculator.
        start: a file whose last structure is taken, or atoms, which stay as they are.
        out: folder of the simulation.
        settings: of the simulation.
        charge: total charge in e, in place of the start's own.
        spin: multiplicity, in place of the start's own.
        device: cpu, cuda or cuda:N; the GPU if there is one, where None.
        dtype: precision of the network, or its name; float64 where None, as a long simulation wants it.
        options: more arguments of ``ChemscaleCalculator``, such as ``dispersion`` or ``committee``.
        progress: whether it is shown.

    Raises:
        SimulationError: settings, start or folder are refused; nothing was computed or written.
        FileNotFoundError: there is no such start.
        PotentialError: there is no such model.
        SourceError: a start that is no structure.
        UnknownElementError: an element that the potential was not made for.
    """
    name = "the start" if isinstance(start, Atoms) else str(start)
    atoms = start.copy() if isinstance(start, Atoms) else read_start(Path(start), charge, spin)
    for key, value in (("charge", charge), ("spin", spin)):
        if value is not None:
            atoms.info[key] = value
    calculator, described = _calculator(model, device, dtype, options or {})
    cutoff = float(getattr(getattr(calculator, "potential", None), "cutoff", 0.0))
    check_start(atoms, settings, cutoff, name)
    decisive = {key: value for key, value in described.items() if key != "model"}
    identity = hash_of(settings.decisive(), decisive, *_parts(atoms, settings))
    folder = Folder(Path(out), identity)
    folder.check()
    atoms.calc = calculator
    _check_forces(atoms, settings, name)
    stops = Stops(settings, Bonds.of(atoms), cutoff if settings.ensemble == "npt" else 0.0)
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.locked():
        rng = np.random.Generator(np.random.PCG64(settings.seed))
        state = _begin(folder, atoms, settings, rng, _description(settings, described))
        step, ended, interrupted = _Loop(folder, atoms, settings, stops, state, rng).run(progress)
        report = None if interrupted else make_report(folder.path, settings, stops.bonds, ended, step)
    return Outcome(step, ended, interrupted, report)


def _begin(
    folder: Folder, atoms: Atoms, settings: Simulation, rng: np.random.Generator, description: dict[str, Any]
) -> State:
    """The state that a simulation goes on from, its first one where it is new.

    Raises:
        SimulationError: it is damaged, of another simulation, or further than it is asked to be.
    """
    if not folder.check():
        original, step = atoms.copy(), -settings.equilibrate
        set_in_motion(atoms, settings, rng)
        first = _state(step, atoms, rng, integrator(atoms, settings, rng, step))
        folder.create(description, original, first)
    state = folder.load()
    if state.step > settings.steps:
        raise SimulationError(
            f"{folder.path} is at step {state.step:,} already, --steps {settings.steps:,} asks for fewer."
        )
    folder.describe(description)
    return state


class _Loop:
    """Steps from a state to the end, or to an interruption."""

    def __init__(
        self,
        folder: Folder,
        atoms: Atoms,
        settings: Simulation,
        stops: Stops,
        state: State,
        rng: np.random.Generator,
    ):
        self.folder, self.atoms, self.settings, self.stops, self.rng = folder, atoms, settings, stops, rng
        self.step, self.ended = state.step, state.ended
        self.fresh = state.step == 0 and state.bytes[1] == 0
        atoms.set_cell(state.cell)
        atoms.positions[:] = state.positions
        atoms.set_momenta(state.momenta)
        rng.bit_generator.state = state.rng
        self.integrator: Integrator = integrator(atoms, settings, rng, state.step)
        self.integrator.restore(state.integrator)
        folder.open(state)

    def run(self, progress: bool) -> tuple[int, str, str]:
        """Steps; the last one, why it ended, and the signal that interrupted."""
        settings, saved = self.settings, time.monotonic()
        total = settings.steps + settings.equilibrate
        ns_a_day = settings.timestep * 1e-6 * 86400
        shown = ProgressBar("simulate", total, "steps", every=10.0, silent=not progress)
        try:
            with _Signals() as signals:
                shown.start(self.step + settings.equilibrate)
                began, first = time.monotonic(), self.step
                if self.fresh:
                    self._record()
                while self.step < settings.steps and not self.ended and not signals.name:
                    self._advance()
                    done = self.step + settings.equilibrate
                    rate = (self.step - first) / max(1e-9, time.monotonic() - began)
                    shown.update(done, f"({rate:,.0f} steps/s, {rate * ns_a_day:.3g} ns/day)")
                    if time.monotonic() - saved > SAVE_EVERY:
                        self._save()
                        saved = time.monotonic()
                self._save()
            over = self.step >= settings.steps or self.ended
            return self.step, self.ended, "" if over else signals.name
        finally:
            shown.stop()
            self.folder.close()

    def _advance(self) -> None:
        self.integrator.step()
        self.step += 1
        temperature = temperature_of(self.atoms.get_kinetic_energy(), self.integrator.dof)
        self.ended = self.stops.reason(self.atoms, temperature) or ""
        if self.step == 0 and self.settings.ensemble == "nve":
            self.integrator = integrator(self.atoms, self.settings, self.rng, 0)
        if self.step >= 0 and (self.ended or self.step % self.settings.every == 0):
            self._record()

    def _record(self) -> None:
        atoms = self.atoms
        potential, kinetic = float(atoms.get_potential_energy()), float(atoms.get_kinetic_energy())
        row = {
            "step": self.step,
            "time_ps": self.step * self.settings.timestep / 1e3,
            "potential_eV": potential,
            "kinetic_eV": kinetic,
            "temperature_K": temperature_of(kinetic, self.integrator.dof),
            "conserved_eV": self.integrator.conserved(),
        }
        if self.settings.ensemble == "npt":
            stress = atoms.get_stress(voigt=False, include_ideal_gas=True)
            row |= {
                "volume_A3": float(atoms.get_volume()),
                "pressure_bar": float(-np.trace(stress) / 3 / BAR),
            }
        spread = committee_spread(atoms)
        if spread is not None:
            row["forces_std_max"] = float(spread.max())
        self.folder.append(row, atoms)

    def _save(self) -> None:
        state = _state(self.step, self.atoms, self.rng, self.integrator)
        state.ended = self.ended
        self.folder.save(state)


class _Signals:
    """Within the block a signal sets ``name``; a second Ctrl-C is immediate."""

    def __init__(self) -> None:
        self.name = ""
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name


def _calculator(
    model: str | Path | Calculator,
    device: str | None,
    dtype: torch.dtype | str | None,
    options: dict[str, Any],
) -> tuple[Calculator, dict[str, Any]]:
    """The calculator, and what names it."""
    if isinstance(model, Calculator):
        return model, {"calculator": type(model).__name__, "parameters": dict(model.parameters)}
    path = Path(model)
    if device is None and not torch.cuda.is_available():
        device = "cpu"
    named = {"float64": torch.float64, "float32": torch.float32}
    if isinstance(dtype, str) and dtype not in named:
        raise SimulationError(f"--dtype {dtype}: choose float64 or float32.")
    dtype = named[dtype] if isinstance(dtype, str) else dtype or torch.float64
    calculator = ChemscaleCalculator(path, device=device, dtype=dtype, **options)
    weights = [tensor.detach().cpu().numpy() for tensor in calculator.potential.state_dict().values()]
    packaged = [path.read_bytes()] if path.suffix == ".pt2" else []
    return calculator, {
        "model": str(path),
        "weights": hash_of(*weights, *packaged),
        "dtype": str(dtype),
        "options": options,
    }


def _parts(atoms: Atoms, settings: Simulation) -> list[Any]:
    """What of the start decides the simulation."""
    info = {key: value for key, value in sorted(atoms.info.items()) if key in ("charge", "spin")}
    momenta = [atoms.get_momenta()] if settings.keep_velocities else []
    return [
        atoms.numbers,
        atoms.positions,
        np.asarray(atoms.cell),
        atoms.pbc,
        atoms.get_masses(),
        info,
        *momenta,
    ]


def _check_forces(atoms: Atoms, settings: Simulation, name: str) -> None:
    """Compute the start once, for what only the calculator knows; nothing is written yet.

    Raises:
        SimulationError: forces are not finite, or it gives no stress or no deviations where they are needed.
    """
    if settings.ensemble == "npt" and "stress" not in atoms.calc.implemented_properties:
        raise SimulationError(
            f"{type(atoms.calc).__name__} gives no stress: --ensemble npt cannot go without."
        )
    forces = atoms.get_forces()
    if not np.isfinite(forces).all():
        atom = int(np.flatnonzero(~np.isfinite(forces).all(axis=1))[0])
        raise SimulationError(f"{name}: the force on atom {atom} ({atoms.symbols[atom]}) is not finite.")
    if settings.stop_uncertainty is not None and committee_spread(atoms) is None:
        raise SimulationError(
            "--stop-uncertainty needs a committee: give a sweep of models and --committee, or leave it out."
        )


def _state(step: int, atoms: Atoms, rng: np.random.Generator, mover: Integrator) -> State:
    return State(
        step,
        atoms.positions.copy(),
        atoms.get_momenta(),
        np.array(atoms.cell),
        rng.bit_generator.state,  # type: ignore[arg-type]
        mover.state(),
    )


def _description(settings: Simulation, described: dict[str, Any]) -> dict[str, Any]:
    from ase import __version__ as ase_version

    return {
        "settings": {**settings.decisive(), "steps": settings.steps},
        **described,
        "units": {"energy": "eV", "length": "Angstrom", "time": "fs", "momenta": f"{units.fs:g} of ASE's"},
        "software": {"ase": ase_version, "torch": torch.__version__, "numpy": np.__version__},
    }
