"""The starter structures: conformers of small molecules in motion, labelled by a quantum method, made here.

Molecules are embedded and moved at 500 K by a classical force field (RDKit's MMFF94, ASE's Langevin
dynamics), which is cheap; each kept frame is then labelled with GFN2-xTB (Bannwarth, Ehlert and Grimme 2019,
through tblite). Energies and forces are of one real semi-empirical Hamiltonian and agree with each other to
10⁻⁶. They are not DFT, and are for trying things.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes

from chemscale.common.durations import format_duration
from chemscale.common.files import atomic_path
from chemscale.common.parallel import ordered_map, worker_count
from chemscale.common.progress import ProgressBar
from chemscale.structures.blocks import Block, SourceError
from chemscale.structures.units import Units

log = logging.getLogger(__name__)

MOLECULES = (
    "C", "CC", "CCC", "C=C", "C#C", "C=CC", "O", "CO", "CCO", "CC(C)O", "COC", "C=O", "CC=O",
    "CC(C)=O", "OC=O", "CC(O)=O", "COC=O", "N", "CN", "CCN", "CNC", "C#N", "CC#N", "NC=O", "CNC=O",
    "CC(N)=O", "NCC(O)=O", "OCCO", "OCC=O", "NCCO", "C1CC1", "C1CO1", "C1CN1", "C1CCC1", "C1CCOC1",
    "c1ccccc1", "c1ccncc1", "c1ccoc1", "c1cc[nH]c1", "c1cnc[nH]1", "NC(N)=O", "CC(=O)C=O", "O=CC=O",
    "C=CC=C", "C=CC=O", "C=CC#N", "CC(C)C", "CCCC",
)  # fmt: skip
"""SMILES of 48 molecules of H, C, N and O, 3 to 14 atoms."""

TEMPERATURE = 500.0
"""Kelvin: bonds stretch by about 0.1 Å and single bonds turn."""
INTERVAL = 20
"""Steps of 1 fs between kept frames."""
LEVEL = "GFN2-xTB"
LEVELS = (LEVEL, "GFN1-xTB")
"""Hamiltonians of tblite that can label the frames."""


def write_starter(
    path: Path, count: int, *, workers: int | None = None, seed: int = 0, level: str = LEVEL
) -> None:
    """Make labelled frames, spread evenly over the molecules, and write them as one ``.npz``.

    Args:
        path: of the file.
        count: frames in all.
        workers: processes; None for one a core.
        seed: of the first molecule's embedding and motion; each molecule has the next one.
        level: of the labels, one of ``LEVELS``; the structures are the same.

    Raises:
        SourceError: fewer frames than molecules are asked for.
    """
    if count < len(MOLECULES):
        raise SourceError(f"data.count={count}: at least {len(MOLECULES)} frames, one a molecule.")
    shares = [count // len(MOLECULES) + (n < count % len(MOLECULES)) for n in range(len(MOLECULES))]
    jobs = [
        (smiles, share, seed + n, level)
        for n, (smiles, share) in enumerate(zip(MOLECULES, shares, strict=True))
    ]
    started = time.monotonic()
    found: list[dict[str, Any]] = []
    with ProgressBar("starter structures", count, "frames", every=5.0) as progress:
        for result in ordered_map(frames_of_molecule, jobs, worker_count(workers)):
            found.append(result)
            progress.advance(len(result["energies"]))
    arrays = {f"{n:03d}_{key}": value for n, result in enumerate(found) for key, value in result.items()}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    log.info("%s: %s frames in %s.", path, f"{count:,}", format_duration(time.monotonic() - started))


class StarterFrames:
    """The frames that ``write_starter`` wrote; in eV and Å already.

    Args:
        path: of the file.
        level: of its labels.
    """

    def __init__(self, path: Path, level: str = LEVEL):
        self.path = Path(path)
        self.level, self.units = level, Units().describe()
        self.notes = [f"Langevin dynamics at {TEMPERATURE:g} K on MMFF94, labels from {level}."]

    def blocks(self) -> Iterator[Block]:
        """Every frame, a block a molecule."""
        with np.load(self.path) as arrays:
            start = 0
            for n, smiles in enumerate(MOLECULES):
                energies = arrays[f"{n:03d}_energies"]
                yield Block(
                    name=smiles,
                    numbers=arrays[f"{n:03d}_numbers"],
                    positions=arrays[f"{n:03d}_positions"],
                    energies=energies,
                    forces=arrays[f"{n:03d}_forces"],
                    rows=np.arange(start, start + len(energies)),
                    spins=np.ones(len(energies)),
                )
                start += len(energies)

    def splits(self) -> None:
        """None: no split is published."""
        return None


def frames_of_molecule(job: tuple[str, int, int, str]) -> dict[str, Any]:
    """Make frames of one molecule by Langevin dynamics and label them.

    Args:
        job: SMILES, number of frames k, seed, level of the labels.

    Returns:
        ``numbers`` (n,), ``positions`` (k, n, 3) Å, ``energies`` (k,) eV and ``forces`` (k, n, 3) eV/Å.

    Raises:
        SourceError: the labels converged for too few frames.
    """
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

    smiles, count, seed, level = job
    numbers, positions, calculator = force_field(smiles, seed)
    random = np.random.default_rng(seed)
    atoms = Atoms(numbers, positions)
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=random)
    dynamics = Langevin(
        atoms, 1.0 * units.fs, temperature_K=TEMPERATURE, friction=0.02 / units.fs, rng=random, fixcm=False
    )
    kept: list[np.ndarray] = []
    energies: list[float] = []
    forces: list[np.ndarray] = []
    dynamics.run(5 * INTERVAL)
    for attempt in itertools.count():
        if len(kept) == count:
            break
        if attempt > 2 * count + 10:
            raise SourceError(f"{smiles}: {level} converged for {len(kept)} of {attempt} frames only.")
        dynamics.run(INTERVAL)
        centred = atoms.positions - atoms.positions.mean(0)
        label = xtb(numbers, centred, level)
        if label is not None:
            kept.append(centred)
            energies.append(label[0])
            forces.append(label[1])
    return {
        "numbers": numbers.astype(np.uint8),
        "positions": np.array(kept),
        "energies": np.array(energies),
        "forces": np.array(forces),
    }


def xtb(numbers: np.ndarray, positions: np.ndarray, level: str = LEVEL) -> tuple[float, np.ndarray] | None:
    """Energy in eV and forces (n, 3) in eV/Å of a neutral singlet; None if it does not converge.

    Args:
        numbers: (n,) atomic numbers.
        positions: (n, 3) Å.
        level: one of ``LEVELS``.
    """
    from tblite.interface import Calculator as Tblite

    calculator = Tblite(level, numbers, positions / units.Bohr)
    calculator.set("verbosity", 0)
    try:
        result = calculator.singlepoint()
    except RuntimeError:
        return None
    return float(result["energy"]) * units.Hartree, -np.asarray(result["gradient"]) * (
        units.Hartree / units.Bohr
    )


def force_field(smiles: str, seed: int) -> tuple[np.ndarray, np.ndarray, Calculator]:
    """Atomic numbers (n,), relaxed positions (n, 3) in Å and MMFF94 of a molecule.

    Args:
        smiles: of the molecule, without hydrogens.
        seed: of its embedding.

    Raises:
        SourceError: MMFF94 does not know it.
    """
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(molecule, randomSeed=seed + 1)  # type: ignore[attr-defined]
    properties = AllChem.MMFFGetMoleculeProperties(molecule)  # type: ignore[attr-defined]
    field = AllChem.MMFFGetMoleculeForceField(molecule, properties)  # type: ignore[attr-defined]
    if field is None:
        raise SourceError(f"{smiles}: MMFF94 has no parameters for it.")
    field.Minimize()
    per_mol = units.kcal / units.mol

    class ForceField(Calculator):
        """MMFF94 by RDKit for ASE's dynamics."""

        implemented_properties = ["energy", "forces"]  # noqa: RUF012 (ASE's own convention)
        owners = (molecule, properties)  # RDKit's field points into them and does not keep them alive

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: list[str] | tuple[str, ...] = ("energy",),
            system_changes: list[str] = all_changes,
        ) -> None:
            super().calculate(atoms, properties, system_changes)
            assert self.atoms is not None
            flat = self.atoms.positions.ravel().tolist()
            # The energy first: it makes RDKit forget the distances of earlier positions, CalcGrad does not.
            energy = field.CalcEnergy(flat)
            gradient = np.array(field.CalcGrad(flat)).reshape(-1, 3)
            self.results = {"energy": energy * per_mol, "forces": -gradient * per_mol}

    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    return numbers, np.array(molecule.GetConformer().GetPositions()), ForceField()
