"""Trained potentials in OpenMM, as a force that is computed in Python (OpenMM 8.4 and later)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import units

from chemscale.models.potential import Potential
from chemscale.structures.calculator import model_folder
from chemscale.structures.engines.evaluator import Evaluator

KJ_PER_MOL = units.kJ / units.mol
"""One kJ/mol in eV."""
NM = units.nm
"""One nm in Å."""


class OpenMMError(ValueError):
    """A system that a potential cannot be added to, or an OpenMM that is too old or absent."""


def add_potential(
    system: Any,
    topology: Any,
    model: str | Path | Potential,
    *,
    particles: Iterable[int] | None = None,
    periodic: bool | None = None,
    charge: int = 0,
    spin: int = 0,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    force_group: int = 0,
) -> Any:
    """Add a force to an OpenMM system that is a trained potential.

    It is the whole energy of its particles among each other, and leaves alone what else acts on them: forces
    and constraints of a force field are to be removed (``openmmml.MLPotential("chemscale")`` does so).

    Args:
        system: an ``openmm.System`` with all particles.
        topology: an ``openmm.app.Topology``, or the atomic number of every particle.
        model: a run (its directory, or RUNS/SWEEP/NAME), its ``model`` folder, or a ``Potential``. A force
            of a folder can be copied and serialised (it holds the path); one of a ``Potential`` cannot.
        particles: indices that it acts on; all if None.
        periodic: whether images act, in the box of the context; if None, whether the topology has a box.
        charge: total of the particles, in e.
        spin: multiplicity 2S+1, 0 where it is not stated.
        device: where the network runs; the GPU if there is one and None is given.
        dtype: precision of the network; as trained if None.
        force_group: of the new force.

    Returns:
        The ``openmm.PythonForce`` that was added.

    Raises:
        OpenMMError: OpenMM is absent or has no Python forces; elements and particles do not match.
        UnknownElementError: an element that the potential was not made for.
        UnknownChargeError: a charge or multiplicity that it can know nothing of.
        BoundaryError: a periodic system, where the potential is for molecules alone.
        PotentialError: no potential is there.
    """
    openmm = _import_openmm()
    chosen = None if particles is None else [int(index) for index in particles]
    boxed = hasattr(topology, "getPeriodicBoxVectors") and topology.getPeriodicBoxVectors() is not None
    periodic = boxed if periodic is None else periodic
    energy = EnergyOfState(
        model,
        _numbers(system, topology, chosen),
        periodic=periodic,
        charge=charge,
        spin=spin,
        device=device,
        dtype=dtype,
    )
    force = openmm.PythonForce(energy)
    force.setUsesPeriodicBoundaryConditions(periodic)
    force.setForceGroup(force_group)
    if chosen is not None:
        force.setParticles(chosen)
    system.addForce(force)
    return force


class EnergyOfState:
    """Energy and forces of an OpenMM state in OpenMM's units, as ``openmm.PythonForce`` calls it.

    Args:
        model: as ``add_potential`` takes it.
        numbers: (n,) atomic numbers of its particles.
        periodic: whether the state's box repeats.
        charge: total, in e.
        spin: multiplicity 2S+1, 0 where it is not stated.
        device: where the network runs.
        dtype: precision of the network.
    """

    def __init__(
        self,
        model: str | Path | Potential,
        numbers: Sequence[int] | np.ndarray,
        *,
        periodic: bool,
        charge: int = 0,
        spin: int = 0,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        self._evaluator = Evaluator(model, charge=charge, spin=spin, device=device, dtype=dtype)
        self._numbers, self._periodic = np.asarray(numbers), periodic
        self._evaluator.check_elements(self._numbers)
        if periodic:
            self._evaluator.check_periodic()
        self._folder = None if isinstance(model, Potential) else str(model_folder(Path(model)).resolve())
        self._options = {"charge": charge, "spin": spin, "dtype": dtype}
        self._device = None if device is None else str(device)

    def __call__(self, state: Any) -> tuple[float, np.ndarray]:
        """Energy in kJ/mol and (n, 3) forces in kJ/(mol nm).

        Args:
            state: an ``openmm.State`` with positions, and with its box where it repeats.

        Raises:
            NotFiniteError: positions that are not numbers.
        """
        from openmm.unit import angstrom

        positions = state.getPositions(asNumpy=True).value_in_unit(angstrom)
        cell = pbc = None
        if self._periodic:
            cell = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(angstrom)
            pbc = np.ones(3, dtype=bool)
        found = self._evaluator(self._numbers, positions, cell, pbc)
        return found.energy / KJ_PER_MOL, found.forces * (NM / KJ_PER_MOL)

    def __reduce__(self) -> tuple[Callable[..., EnergyOfState], tuple[Any, ...]]:
        """For OpenMM's copies and XML: the path of the model and its settings, and no weights.

        Raises:
            OpenMMError: the model has no folder.
        """
        if self._folder is None:
            raise OpenMMError(
                "A potential in memory cannot be written into a file of OpenMM: save it "
                "(chemscale.models.potentials.save_potential) and name its folder, or add the force again "
                "after the system was read."
            )
        numbers = tuple(int(z) for z in self._numbers)
        return _open_again, (self._folder, numbers, self._periodic, self._device, self._options)


def _open_again(
    folder: str, numbers: tuple[int, ...], periodic: bool, device: str | None, options: dict[str, Any]
) -> EnergyOfState:
    return EnergyOfState(folder, numbers, periodic=periodic, device=device, **options)


def _import_openmm() -> Any:
    try:
        import openmm
    except ImportError as error:
        raise OpenMMError("OpenMM is not installed: pip install 'chemscale[openmm]'.") from error
    if not hasattr(openmm, "PythonForce"):
        raise OpenMMError(
            f"OpenMM {openmm.__version__} has no forces in Python: pip install 'chemscale[openmm]'."
        )
    return openmm


def _numbers(system: Any, topology: Any, chosen: list[int] | None) -> np.ndarray:
    """Atomic numbers of the particles that the potential acts on."""
    if hasattr(topology, "atoms"):
        numbers = [0 if atom.element is None else atom.element.atomic_number for atom in topology.atoms()]
    else:
        numbers = [int(number) for number in topology]
    count = system.getNumParticles()
    if len(numbers) != count:
        raise OpenMMError(f"The system has {count} particles and the topology {len(numbers)} atoms.")
    chosen = list(range(count)) if chosen is None else chosen
    outside = [index for index in chosen if not 0 <= index < count]
    if outside or len(set(chosen)) != len(chosen) or not chosen:
        raise OpenMMError(
            f"particles: {outside[0]} is none of the {count} of the system."
            if outside
            else "particles: each of them once, and at least one."
        )
    nameless = [index for index in chosen if numbers[index] == 0]
    if nameless:
        raise OpenMMError(
            f"Particle {nameless[0]} is no atom but a virtual site, or has no element ({len(nameless)} "
            "such): leave those out with particles=…"
        )
    return np.array([numbers[index] for index in chosen])
