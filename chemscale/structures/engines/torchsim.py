"""A trained potential as a model of TorchSim, which moves many molecules or crystals at once.

Written for TorchSim 0.3, the last for Python 3.11, and 0.6: what differs between them is read where it is
there (charges of a state, periodicity of each axis).
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from chemscale.hardware.devices import named_device
from chemscale.models.potential import Potential
from chemscale.structures.blocks import SourceError
from chemscale.structures.calculator import open_potential
from chemscale.structures.dispersion import warn_of_network_alone
from chemscale.structures.graphs import Structure, collate
from chemscale.structures.sources.ase_files import check_atoms
from chemscale.structures.sources.electrons import CHARGE, MULTIPLICITY, UNPAIRED, charge_and_spin

try:
    from torch_sim.models.interface import ModelInterface
except ImportError as error:
    raise ImportError(f"TorchSim cannot be imported ({error}): pip install 'chemscale[torchsim]'.") from error


class ChemscaleTorchSim(ModelInterface):
    """Model of TorchSim for relaxations and molecular dynamics of batches::

        model = ChemscaleTorchSim("runs/single/painn-w64-l3")
        state = torch_sim.io.atoms_to_state(list_of_atoms, model.device, model.dtype)
        model(state)["forces"]

    It gives ``energy`` (B,) eV, ``forces`` (N, 3) eV/Å and ``stress`` (B, 3, 3) eV/Å³, positive under
    tension and NaN for what is not periodic in all three directions, in the precision of the state's
    positions. The potential computes in its own precision, with energies in float64.

    Neighbours are found by vesin on the CPU, anew for each call, wherever the potential is.

    Charge and multiplicity are read from a state that has them for each system (``charge``, ``spin`` or
    another name that ``structures.sources.electrons`` lists), as TorchSim's extras are from 0.6 on.

    Args:
        model: a run (its directory, or RUNS/SWEEP/NAME), its ``model`` folder, a compiled ``model.pt2``, or a
            ``Potential``.
        device: where it runs; the GPU if there is one and None is given.
        dtype: precision that states are made with; a total energy in float32 is rounded to some meV.
        network_dtype: precision of the network; as trained if None.
        charge: in e, of systems of a state that does not say.
        spin: multiplicity of these, 0 where it is not stated.

    Raises:
        PotentialError: no potential is there.
        ValueError: another precision than a given ``Potential`` has.
        SourceError: on use, for a system that is no structure, and a charge that is no whole number.
        UnknownElementError: on use, for an element that the potential was not made for.
        UnknownChargeError: on use, for a charge that it can know nothing of.
        BoundaryError: on use, for a crystal where the potential is for molecules alone.
    """

    def __init__(
        self,
        model: str | Path | Potential,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float64,
        network_dtype: torch.dtype | None = None,
        charge: int = 0,
        spin: int = 0,
    ):
        super().__init__()
        if not isinstance(model, Potential):
            model = open_potential(Path(model), network_dtype)
        if network_dtype not in (None, model.dtype):
            raise ValueError(f"network_dtype={network_dtype}: the potential that was given is {model.dtype}.")
        warn_of_network_alone(model.header, "The model for TorchSim")
        self._device = named_device(None if device is None else str(device), "device")
        self._dtype = dtype
        self.potential = model.to(self._device).eval().requires_grad_(False)
        self.charge, self.spin = charge, spin
        self._compute_forces = True
        self._compute_stress = not model.molecules_only

    @property
    def compute_stress(self) -> bool:
        """Whether stress is computed; at first wherever the potential has one."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, compute_stress: bool) -> None:
        if compute_stress and self.potential.molecules_only:
            raise NotImplementedError(
                "Stress is that of crystals, and the model has the electrostatics of molecules in vacuum "
                "(model.electrostatics=true)."
            )
        self._compute_stress = compute_stress

    @property
    def compute_forces(self) -> bool:
        """Whether forces are computed; at first they are."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, compute_forces: bool) -> None:
        self._compute_forces = compute_forces

    def forward(self, state: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Energies of B systems of N atoms in all, and forces and stress if they are computed.

        Args:
            state: TorchSim's ``SimState``, or a mapping of its ``positions`` and so on; it is not changed.
            kwargs: of other models, which TorchSim hands to all.

        Returns:
            ``energy`` (B,), ``forces`` (N, 3) and ``stress`` (B, 3, 3), detached.

        Raises:
            SourceError: as the class says, naming the system by its number.
        """
        if isinstance(state, dict):
            state = SimpleNamespace(**state)
        batch, periodic = self._batch(state)
        # Checks read numbers: on the CPU they wait for nothing.
        self.potential.check(batch)
        stressed = self._compute_stress and bool(periodic.all(1).any())
        found = self.potential(
            batch.to(self._device), forces=self._compute_forces, stress=stressed, create_graph=False
        )
        dtype, device = state.positions.dtype, state.positions.device
        results = {"energy": found.energy}
        if self._compute_forces:
            results["forces"] = found.forces
        if self._compute_stress:
            results["stress"] = self._stress(found.stress, periodic)
        return {key: value.detach().to(device, dtype) for key, value in results.items()}

    def _batch(self, state: Any) -> tuple[Data, np.ndarray]:
        """The graph of a state on the CPU, and (B, 3) which directions of each system are periodic.

        Raises:
            SourceError: a system that is no structure.
        """
        positions = _numbers(state.positions, np.float64)
        numbers = _numbers(state.atomic_numbers, np.int64)
        cells = _numbers(state.cell, np.float64).reshape(-1, 3, 3).transpose(0, 2, 1)
        sizes = np.bincount(_systems(state, len(numbers)), minlength=len(cells))
        periodic = _periodic(state.pbc, len(cells))
        electrons = self._electrons(state, len(cells))
        structures, start = [], 0
        for system, (size, cell, pbc) in enumerate(zip(sizes, cells, periodic, strict=True)):
            atoms = _Atoms(numbers[start : start + size], positions[start : start + size], cell, pbc)
            start += size
            try:
                check_atoms(atoms)
            except SourceError as error:
                raise SourceError(f"System {system} of the state: {error}") from None
            structures.append(atoms.structure(*electrons[system]).with_neighbours(self.potential.cutoff))
        return collate(structures), periodic

    def _electrons(self, state: Any, systems: int) -> list[tuple[int, int]]:
        """Charge and multiplicity of each system.

        Raises:
            SourceError: one is no whole number, or two names state different values.
        """
        stated = {}
        for name in (*CHARGE, *MULTIPLICITY, *UNPAIRED):
            value = getattr(state, name, None)
            if isinstance(value, Tensor) and value.numel() == systems:
                stated[name] = _numbers(value, np.float64).ravel()
        found = []
        for system in range(systems):
            info = {name: float(values[system]) for name, values in stated.items()}
            try:
                charge, spin = charge_and_spin(SimpleNamespace(info=info))
            except SourceError as error:
                raise SourceError(f"System {system} of the state: {error}") from None
            found.append(
                (
                    charge if any(name in CHARGE for name in stated) else self.charge,
                    spin if any(name not in CHARGE for name in stated) else self.spin,
                )
            )
        return found

    @staticmethod
    def _stress(stress: Tensor | None, periodic: np.ndarray) -> Tensor:
        """(B, 3, 3) eV/Å³, NaN for systems that are not periodic in all three directions."""
        if stress is None:
            return torch.full((len(periodic), 3, 3), torch.nan)
        defined = torch.from_numpy(periodic.all(1)).to(stress.device)
        return torch.where(defined[:, None, None], stress, torch.nan)


class _Atoms(SimpleNamespace):
    """Atoms of a system with what ``check_atoms`` reads of ASE's."""

    def __init__(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray):
        super().__init__(numbers=numbers, positions=positions, cell=SimpleNamespace(array=cell), pbc=pbc)

    def __len__(self) -> int:
        return len(self.numbers)

    def structure(self, charge: int, spin: int) -> Structure:
        """These atoms with their charge and multiplicity."""
        periodic = bool(self.pbc.any())
        return Structure(
            numbers=self.numbers,
            positions=self.positions,
            charge=charge,
            spin=spin,
            cell=self.cell.array if periodic else None,
            pbc=self.pbc if periodic else None,
        )


def _numbers(tensor: Tensor, dtype: type) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(dtype)


def _systems(state: Any, atoms: int) -> np.ndarray:
    """(N,) system of each atom; a state of one system need not say."""
    found = getattr(state, "system_idx", None)
    return np.zeros(atoms, np.int64) if found is None else _numbers(found, np.int64)


def _periodic(pbc: Any, systems: int) -> np.ndarray:
    """(B, 3) bool of one for all, of three for each axis, or of three for each system."""
    flags = _numbers(pbc, np.bool_) if isinstance(pbc, Tensor) else np.asarray(pbc, bool)
    return np.broadcast_to(flags, (systems, 3)).copy()
