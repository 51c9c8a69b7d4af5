"""A trained potential as an ASE calculator: relaxation, molecular dynamics, phonons, whatever ASE does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from chemscale.hardware.devices import named_device
from chemscale.models.potential import Potential
from chemscale.models.potentials import load_potential
from chemscale.records import find_run
from chemscale.structures.blocks import Block
from chemscale.structures.dispersion import Dispersion, choose
from chemscale.structures.engines.packaged import PackagedPotential
from chemscale.structures.graphs import Structure, collate
from chemscale.structures.sources.ase_files import check_atoms
from chemscale.structures.sources.electrons import charge_and_spin, unused_keys
from chemscale.structures.uncertainty.committee import Committee
from chemscale.structures.uncertainty.members import find_members
from chemscale.structures.uncertainty.prediction import UncertainPrediction

log = logging.getLogger(__name__)


class ChemscaleCalculator(Calculator):
    """ASE calculator of a trained potential::

        atoms.calc = ChemscaleCalculator("runs/single/painn-w64-l3")

    It gives the energy (eV), forces (eV/Å), stress (eV/Å³, in ASE's Voigt order) and energies of atoms. Total
    charge and multiplicity are ``atoms.info["charge"]`` and ``["spin"]`` (or another name that
    ``structures.sources.electrons`` lists); 0 and not stated if absent. Results are kept until the atoms,
    their charge or multiplicity, or ``potential`` change; ``reset()`` after weights were changed in place.

    Seeds of a sweep are a committee::

        atoms.calc = ChemscaleCalculator("runs/seeds", committee=True)

    Energy, forces and stress are then means over its members, which conserve energy, and ``results`` has the
    sample standard deviations besides: ``energy_std`` (eV), ``forces_std`` (N, 3), of each component
    (eV/Å), and ``stress_std`` (6,) in Voigt order (eV/Å³). They are as the members have them, not calibrated.

    Args:
        model: a run (its directory, or RUNS/SWEEP/NAME), its ``model`` folder, a compiled ``model.pt2``, or a
            ``Potential``; also a ``Committee``. None where `committee` lists the runs.
        committee: True where `model` is the folder of a sweep of seeds, or RUNS/SWEEP/PATTERN; or a list of
            runs or model folders, in place of `model`.
        device: where it runs; the GPU if there is one and None is given.
        dtype: precision of the network; float64 for phonons and tight relaxations. As trained if None.
        dispersion: what is added to the network: ``auto``, the D3 that was subtracted from its labels
            (``data.subtract``), if any; None, nothing; a functional such as ``pbe``, or a `Dispersion`, for
            a network that was trained on labels without dispersion.
        kwargs: of ASE's ``Calculator``: atoms, label, directory.

    Raises:
        PotentialError: no potential is there.
        CommitteeError: the runs are no committee: they differ in more than their seed.
        DispersionError: a functional or, on use, an element that D3 has no parameters for; another dispersion
            than the one that was subtracted.
        ValueError: a parameter that there is not, or another precision than a given ``Potential`` has.
        SourceError: on use, for what is no structure (positions not finite, no cell where periodic), and a
            charge that is no whole number or is stated twice, and differently.
        UnknownElementError: on use, for an element that the potential was not made for.
        UnknownChargeError: on use, for a charge that it can know nothing of.
        BoundaryError: on use, for a crystal where the potential is for molecules alone.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress", "energies"]  # type: ignore[misc]

    def __init__(
        self,
        model: str | Path | Potential | Committee | None = None,
        *,
        committee: bool | Sequence[str | Path] = False,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        dispersion: str | Dispersion | None = "auto",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        model = _opened(model, committee, dtype)
        self.device = named_device(None if device is None else str(device), "device")
        self.potential: Potential | Committee = model.to(self.device).eval().requires_grad_(False)
        self.dispersion = choose(self.potential.header, dispersion)
        self._computed_with: tuple[Any, ...] = ()
        self._said: set[str] = set()

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Refuse parameters, which ASE would keep and nothing would read."""
        if kwargs:
            raise ValueError(
                f"ChemscaleCalculator has no parameter {', '.join(kwargs)}. Charge and multiplicity are of "
                'the atoms: atoms.info["charge"], atoms.info["spin"].'
            )
        return {}

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation, in ASE's words; ``info`` and ``potential`` among it."""
        changes: list[str] = super().check_state(atoms, tol=tol)
        if self.atoms is not None and self._computed_with != self._inputs(atoms):
            changes.append("info or potential")
        return changes

    def _inputs(self, atoms: Atoms) -> tuple[Any, ...]:
        """What a result depends on beside what ASE compares."""
        return (*charge_and_spin(atoms), self.potential, self.potential.dtype, self.dispersion)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill ``results``, as ASE asks for it."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        check_atoms(self.atoms)
        self._warn_of_unused(self.atoms)
        periodic = bool(self.atoms.pbc.any())
        batch = collate([structure_of(self.atoms).with_neighbours(self.potential.cutoff)]).to(self.device)
        self.potential.check(batch)
        full = bool(self.atoms.pbc.all())
        result = self.potential(batch, stress=full and "stress" in properties, create_graph=False)
        energy = float(result.energy)
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": result.atomic_energies.detach().cpu().numpy(),
            "forces": result.forces.cpu().numpy(),
        }
        if result.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(result.stress[0].cpu().numpy())
        elif "stress" in properties and periodic:
            raise NotImplementedError(
                "Stress is defined for cells that are periodic in all three directions."
            )
        if self.dispersion is not None:
            self._add_dispersion(self.dispersion, self.atoms, properties)
        if isinstance(result, UncertainPrediction):
            self.results |= _deviations(result)
        self._computed_with = self._inputs(self.atoms)

    def _add_dispersion(
        self, dispersion: Dispersion, atoms: Atoms, properties: list[str] | tuple[str, ...]
    ) -> None:
        """Add dispersion to the results; to those of atoms, which cost as much again, where asked for."""
        system = (atoms.numbers, atoms.positions, np.asarray(atoms.cell), np.asarray(atoms.pbc))
        found = dispersion.of(*system)
        self.results["energy"] += found.energy
        self.results["free_energy"] += found.energy
        self.results["forces"] = self.results["forces"] + found.forces
        if "stress" in self.results and found.stress is not None:
            self.results["stress"] = self.results["stress"] + full_3x3_to_voigt_6_stress(found.stress)
        if "energies" in properties:
            self.results["energies"] = self.results["energies"] + dispersion.atomic_energies(*system)
        else:
            del self.results["energies"]

    def _warn_of_unused(self, atoms: Atoms) -> None:
        for key in set(unused_keys(atoms)) - self._said:
            self._said.add(key)
            log.warning('%s is not read: state the total charge as atoms.info["charge"].', key)


def _opened(
    model: str | Path | Potential | Committee | None,
    committee: bool | Sequence[str | Path],
    dtype: torch.dtype | None,
) -> Potential | Committee:
    """What a calculator was given, as a module.

    Raises:
        ValueError: both a model and a list of runs, neither, or another precision than that of a module.
    """
    if not isinstance(committee, bool):
        if model is not None or isinstance(committee, str | Path):
            raise ValueError(
                "committee: give a list of runs and no model, or committee=True with the folder of a sweep."
            )
        return find_members(committee).load(dtype=dtype)
    if model is None:
        raise ValueError("Give a model: a run, a model folder, a Potential, or committee=[RUN, RUN, …].")
    if committee and not isinstance(model, Potential | Committee):
        return find_members(model).load(dtype=dtype)
    found = model if isinstance(model, Potential | Committee) else open_potential(Path(model), dtype)
    if dtype not in (None, found.dtype):
        raise ValueError(f"dtype={dtype}: the potential that was given is {found.dtype}; load it so.")
    return found


def _deviations(result: UncertainPrediction) -> dict[str, Any]:
    """Standard deviations as ``results`` has them, numbers of one structure."""
    found: dict[str, Any] = {}
    if result.energy_std is not None:
        found["energy_std"] = float(result.energy_std)
    if result.forces_std is not None:
        found["forces_std"] = result.forces_std.cpu().numpy()
    if result.stress_std is not None:
        found["stress_std"] = full_3x3_to_voigt_6_stress(result.stress_std[0].cpu().numpy())
    return found


def atoms_of(block: Block, number: int) -> Atoms:
    """One frame of a block as ASE's atoms, labels left out; name, row, charge and multiplicity in ``info``.

    Args:
        block: of frames.
        number: of the frame in it.
    """
    periodic = block.cells is not None and block.pbc is not None and bool(block.pbc[number].any())
    atoms = Atoms(
        block.numbers,
        block.positions[number],
        cell=block.cells[number] if periodic else None,  # type: ignore[index]
        pbc=block.pbc[number] if periodic else False,  # type: ignore[index]
    )
    row = int(block.rows[number])
    atoms.info |= {"name": block.name, "row": row, "charge": int(block.charges[number])}
    if block.spins[number]:
        atoms.info["spin"] = int(block.spins[number])
    return atoms


def structure_of(atoms: Atoms) -> Structure:
    """Convert ASE's atoms to a structure, labels left out.

    Args:
        atoms: charge and multiplicity as ``charge_and_spin`` reads them.

    Raises:
        SourceError: a charge or multiplicity that is none.
    """
    charge, spin = charge_and_spin(atoms)
    return Structure(
        numbers=atoms.numbers.astype(np.uint8),
        positions=atoms.positions,
        charge=charge,
        spin=spin,
        cell=np.asarray(atoms.cell) if atoms.pbc.any() else None,
        pbc=np.asarray(atoms.pbc) if atoms.pbc.any() else None,
    )


def open_potential(path: Path, dtype: torch.dtype | None = None) -> Potential:
    """The potential of a run, of a ``model`` folder, or of a package that ``export --as aoti`` compiled.

    Args:
        path: of one of these; a package's file ends in ``.pt2``.
        dtype: precision of the network; as trained if None, and as compiled in a package.

    Raises:
        PotentialError: no potential is there.
    """
    if path.suffix == ".pt2":
        return PackagedPotential(path)
    return load_potential(model_folder(path), dtype=dtype)


def model_folder(path: Path) -> Path:
    """The ``model`` folder of a run (its directory, or RUNS/SWEEP/NAME), or the path itself."""
    path = find_run(path)
    return path / "model" if (path / "model" / "config.json").exists() else path
