"""The folder of a simulation: one simulation only, and files that end at the last saved state.

``state.npz`` says how long the trajectory and the log were when it was written. A simulation that goes on
cuts both there first, so that frames of steps that are done again, and half a line of a killed process, leave
no trace.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from chemscale.common.files import atomic_path, atomic_write, write_json
from chemscale.common.locks import file_lock
from chemscale.structures.simulation.settings import SimulationError

STATE, LOG, TRAJECTORY, SETTINGS, START = (
    "state.npz", "log.csv", "trajectory.extxyz", "simulation.json", "start.extxyz",
)  # fmt: skip
COLUMNS = (
    "step", "time_ps", "potential_eV", "kinetic_eV", "temperature_K", "conserved_eV", "volume_A3",
    "pressure_bar", "forces_std_max",
)  # fmt: skip
SCHEMA_VERSION = 1


@dataclass
class State:
    """All that the next step depends on.

    Args:
        step: that was taken last; below 0 in equilibration.
        positions: (N, 3) Å.
        momenta: (N, 3) in ASE's unit.
        cell: (3, 3) Å.
        rng: state of the random numbers.
        integrator: memory of the integrator.
        bytes: lengths of the log and the trajectory.
        ended: why the simulation ended before its time; empty where it did not.
    """

    step: int
    positions: np.ndarray
    momenta: np.ndarray
    cell: np.ndarray
    rng: dict[str, Any]
    integrator: dict[str, np.ndarray]
    bytes: tuple[int, int] = (0, 0)
    ended: str = ""


class Folder:
    """A simulation on disk.

    Args:
        path: of the folder.
        identity: hash of what decides the simulation.
    """

    def __init__(self, path: Path, identity: str):
        self.path, self.identity = Path(path), identity
        self._log: IO[bytes] | None = None
        self._trajectory: IO[bytes] | None = None

    def check(self) -> bool:
        """Whether this simulation is there already, with a state to go on from.

        Raises:
            SimulationError: something else is there.
        """
        if not self.path.exists() or (self.path.is_dir() and set(os.listdir(self.path)) <= {".lock"}):
            return False
        try:
            found = json.loads((self.path / SETTINGS).read_text())["identity"]
        except (OSError, ValueError, KeyError, TypeError):
            raise SimulationError(
                f"{self.path} is there and holds no simulation: name another --out. Nothing was changed."
            ) from None
        if found != self.identity:
            raise SimulationError(
                f"{self.path} holds another simulation (other settings, start or model): name another --out, "
                "or repeat its command to go on with it. Nothing was changed."
            )
        return (self.path / STATE).exists()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second process.

        Raises:
            SimulationError: another process simulates here.
        """

        def busy(_: str) -> BaseException:
            return SimulationError(f"{self.path}: another process is at work on this simulation.")

        with file_lock(self.path / ".lock", busy=busy):
            yield

    def create(self, description: dict[str, Any], start: Atoms, state: State) -> None:
        """Write what a new simulation begins with: whose folder it is first, the state last.

        Args:
            description: of the simulation.
            start: structure.
            state: before the first step.
        """
        self.describe(description)
        with atomic_path(self.path / START) as partial:
            write(partial, start, format="extxyz")
        (self.path / LOG).write_text(",".join(COLUMNS) + "\n")
        (self.path / TRAJECTORY).write_bytes(b"")
        state.bytes = ((self.path / LOG).stat().st_size, 0)
        self._write_state(state)

    def describe(self, description: dict[str, Any]) -> None:
        """Write ``simulation.json``.

        Args:
            description: of the simulation.
        """
        write_json(
            self.path / SETTINGS, {"schema_version": SCHEMA_VERSION, "identity": self.identity, **description}
        )

    def load(self) -> State:
        """The last saved state.

        Raises:
            SimulationError: it is damaged, or the files are shorter than it says.
        """
        try:
            with np.load(self.path / STATE, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            head = json.loads(str(arrays.pop("head")))
        except (OSError, ValueError, KeyError) as error:
            raise SimulationError(
                f"{self.path / STATE} is damaged ({error}): begin anew in another --out."
            ) from None
        for name, size in zip((LOG, TRAJECTORY), head["bytes"], strict=True):
            there = (self.path / name).stat().st_size if (self.path / name).exists() else 0
            if there < size:
                raise SimulationError(
                    f"{self.path / name} has {there:,} bytes, {size:,} when the state was saved: it was "
                    "changed. Begin anew in another --out."
                )
        own = {key: arrays.pop(key) for key in ("positions", "momenta", "cell")}
        return State(
            head["step"],
            **own,
            rng=head["rng"],
            integrator=arrays,
            bytes=tuple(head["bytes"]),
            ended=head["ended"],
        )

    def open(self, state: State) -> None:
        """Open log and trajectory for what comes after a state, and cut what came after it before.

        Args:
            state: that the simulation goes on from.
        """
        self._log = open(self.path / LOG, "r+b")  # noqa: SIM115 (until close)
        self._trajectory = open(self.path / TRAJECTORY, "r+b")  # noqa: SIM115 (until close)
        for file, size in zip((self._log, self._trajectory), state.bytes, strict=True):
            file.truncate(size)
            file.seek(size)

    def close(self) -> None:
        """Close log and trajectory."""
        for file in (self._log, self._trajectory):
            if file is not None:
                file.close()

    def append(self, row: dict[str, float], atoms: Atoms) -> None:
        """Add a row to the log and a frame to the trajectory.

        Args:
            row: by column; what is not known is empty.
            atoms: with the results of their calculator.
        """
        assert self._log is not None
        assert self._trajectory is not None
        values = (row.get(column, float("nan")) for column in COLUMNS)
        self._log.write((",".join("" if v != v else repr(v) for v in values) + "\n").encode())
        assert atoms.calc is not None
        results = {"energy": row["potential_eV"], "forces": np.array(atoms.calc.results["forces"])}
        frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        frame.set_momenta(atoms.get_momenta())
        frame.info = {key: atoms.info[key] for key in ("charge", "spin") if key in atoms.info}
        frame.info |= {"step": int(row["step"]), "time_ps": float(row["time_ps"])}
        frame.calc = SinglePointCalculator(frame, **results)
        text = io.StringIO()
        write(text, frame, format="extxyz")
        self._trajectory.write(text.getvalue().encode())

    def save(self, state: State) -> None:
        """Make a state the one to go on from.

        Args:
            state: after a step; its ``bytes`` are set here.
        """
        sizes = []
        for file in (self._log, self._trajectory):
            assert file is not None
            file.flush()
            os.fsync(file.fileno())
            sizes.append(file.tell())
        state.bytes = (sizes[0], sizes[1])
        self._write_state(state)

    def _write_state(self, state: State) -> None:
        head = {"step": state.step, "rng": state.rng, "bytes": state.bytes, "ended": state.ended}
        with atomic_write(self.path / STATE, "wb") as file:
            np.savez(
                file,
                head=np.array(json.dumps(head)),
                positions=state.positions,
                momenta=state.momenta,
                cell=state.cell,
                **state.integrator,  # type: ignore[arg-type]
            )


def read_log(path: Path) -> dict[str, np.ndarray]:
    """Columns of ``log.csv``; NaN where a field is empty.

    Args:
        path: of the file.
    """
    lines = path.read_text().splitlines()
    rows = [[float(v) if v else np.nan for v in line.split(",")] for line in lines[1:]]
    table = np.array(rows).reshape(len(rows), len(COLUMNS))
    return dict(zip(lines[0].split(","), table.T, strict=True))


def hash_of(*parts: Any) -> str:
    """Sixteen digits that name what is given.

    Args:
        parts: arrays, bytes, and what JSON can hold.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        else:
            digest.update(
                part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=str).encode()
            )
    return digest.hexdigest()[:16]
