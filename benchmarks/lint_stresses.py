"""What the linter catches of wrong stresses, and its false errors, on crystals with exact labels.

    python -m benchmarks.lint_stresses [--frames 10 20 50 100 300] [--seeds 10] [--json OUT]

Metals with ASE's effective-medium theory and argon with Lennard-Jones, in strained cells with moved atoms:
"still" (equation-of-state scans and elastic constants), "warm" (thermal motion in cells that breathe by 1 %)
and "hot". Each set is drawn anew for every seed; it is linted as it is (an error is a false one), and with
every fault. "Pulay" adds what a small plane-wave cutoff does: 1 GPa that the energies do not have, which the
linter may warn of and must not call an error.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from chemscale.structures.blocks import Block
from chemscale.structures.lint.evidence.sampling import Sampler, states_of
from chemscale.structures.lint.findings import Finding
from chemscale.structures.lint.stresses import StressCounts, stress_findings

FRAMES = (10, 20, 50, 100, 300)
Random = np.random.Generator
SETS: dict[str, tuple[str, float, float]] = {
    "Al still": ("Al", 0.02, 0.0),
    "Cu warm": ("Cu", 0.01, 0.05),
    "Au warm": ("Au", 0.01, 0.05),
    "Al hot": ("Al", 0.01, 0.12),
    "Cu3Au warm": ("Cu3Au", 0.01, 0.05),
    "Ar warm": ("Ar", 0.02, 0.1),
}
"""Name → crystal, standard deviation of the strain, and of the moves in Å."""


def _calculator(name: str) -> Calculator:
    return LennardJones(sigma=3.4, epsilon=0.0104, rc=7.0, smooth=True) if name == "Ar" else EMT()


def _crystal(name: str) -> Atoms:
    if name == "Cu3Au":
        atoms = bulk("Cu", a=3.74, cubic=True)
        atoms.symbols[0] = "Au"
        return atoms
    return bulk(name, cubic=True)


def sound(name: str, frames: int, random: Random) -> Block:
    """A set with exact labels.

    Args:
        name: of `SETS`.
        frames: how many.
        random: strains and moves.
    """
    kind, strain, moves = SETS[name]
    base, found = _crystal(kind), []
    for _ in range(frames):
        atoms = base.copy()
        shear = random.normal(0, strain, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + (shear + shear.T) / 2), scale_atoms=True)
        atoms.positions += random.normal(0, 1, atoms.positions.shape) * moves
        atoms.calc = _calculator(kind)
        found.append(atoms)
    return Block(
        name=name,
        numbers=base.numbers,
        positions=np.stack([a.positions for a in found]),
        energies=np.array([a.get_potential_energy() for a in found]),
        forces=np.stack([a.get_forces() for a in found]),
        rows=np.arange(frames),
        cells=np.stack([a.cell.array for a in found]),
        pbc=np.ones((frames, 3), bool),
        stresses=np.stack([a.get_stress(voigt=False) for a in found]),
    )


def _as_vasp_prints(stresses: np.ndarray) -> np.ndarray:
    """Stresses whose xy, yz, zx were taken for yz, xz, xy."""
    wrong = stresses.copy()
    for (i, j), (p, q) in {(1, 2): (0, 1), (0, 2): (1, 2), (0, 1): (0, 2)}.items():
        wrong[:, i, j] = wrong[:, j, i] = stresses[:, p, q]
    return wrong


def _volumes(block: Block) -> np.ndarray:
    assert block.cells is not None
    return np.abs(np.linalg.det(block.cells))[:, None, None]


Fault = Callable[[Block, np.ndarray, Random], np.ndarray]
FAULTS: dict[str, tuple[Fault, str]] = {
    "positive under compression": (lambda b, s, r: -s, "positive under compression"),
    "GPa as eV/Å³": (lambda b, s, r: s / units.GPa, "GPa"),
    "kbar of VASP as eV/Å³": (lambda b, s, r: -s / units.GPa * 10, "kbar"),
    "Hartree/Bohr³ as eV/Å³": (lambda b, s, r: s / (units.Hartree / units.Bohr**3), "Hartree/Bohr^3"),
    "eV/Å³ converted twice from GPa": (lambda b, s, r: s * units.GPa, "GPa once too often"),
    "virials −V·σ as stresses": (lambda b, s, r: -_volumes(b) * s, "virial"),
    "virials V·σ as stresses": (lambda b, s, r: _volumes(b) * s, "virial"),
    "stresses as virials": (lambda b, s, r: -s / _volumes(b), "virial"),
    "VASP's order of shear": (lambda b, s, r: _as_vasp_prints(s), "VASP prints"),
    "shuffled": (lambda b, s, r: r.permutation(s), "other rows"),
    "all zero": (lambda b, s, r: 0 * s, "exactly zero"),
    "not updated": (lambda b, s, r: np.repeat(s[:1], len(s), axis=0), "another geometry"),
}
"""Fault → how stresses are spoiled, and words by which the linter names it."""


def stress_faults(block: Block) -> list[Finding]:
    """Errors and warnings of the linter about the stresses of a block, as `lint` finds them.

    Args:
        block: crystals of one composition.
    """
    counts, sampler = StressCounts(), Sampler(2000, 0)
    counts.add(block)
    found = [f for f in counts.findings() if f.severity == "error"]
    if found:
        return found
    sampler.add(block, states_of(block))
    return [f for f in stress_findings(sampler.sample()) if f.severity in ("error", "warning")]


def errors(found: list[Finding]) -> bool:
    """Whether there is an error among findings."""
    return any(f.severity == "error" for f in found)


def measure(frames: int, seeds: int) -> dict[str, Counter[str]]:
    """Counts at one number of frames: false errors, catches and catches by the right name.

    Args:
        frames: of each set.
        seeds: how many of each set.
    """
    counts: dict[str, Counter[str]] = {key: Counter() for key in ("false", "warned", "caught", "named")}
    for number, name in enumerate(SETS):
        for seed in range(seeds):
            random = np.random.default_rng([frames, number, seed])
            block = sound(name, frames, random)
            stresses = block.stresses
            assert stresses is not None
            pulay = replace(block, stresses=stresses - 1 * units.GPa * np.eye(3))
            for title, each in (("sound", block), ("Pulay stress of 1 GPa", pulay)):
                found = stress_faults(each)
                counts["false"][title] += errors(found)
                counts["warned"][title] += bool(found) and not errors(found)
            for fault, (spoil, words) in FAULTS.items():
                found = stress_faults(replace(block, stresses=spoil(block, stresses, random)))
                counts["caught"][fault] += errors(found)
                counts["named"][fault] += any(words in f.message for f in found)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", nargs="+", type=int, default=FRAMES)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = {}
    for frames in arguments.frames:
        found[frames] = measure(frames, arguments.seeds)
        print(f"{frames} frames: { ({key: dict(of) for key, of in found[frames].items()}) }", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    tried = arguments.seeds * len(SETS)
    print(f"\nErrors in % of {tried} sets of each size; in brackets: with the right cause named.\n")
    print("| | " + " | ".join(map(str, arguments.frames)) + " |\n|---|" + "---|" * len(arguments.frames))
    for name in ("sound", "Pulay stress of 1 GPa"):
        for kind, words in (("false", "errors"), ("warned", "warnings")):
            cells = [f"{100 * found[n][kind][name] / tried:.3g}" for n in arguments.frames]
            print(f"| {name}: {words} | " + " | ".join(cells) + " |")
    for name in FAULTS:
        cells = [
            f"{100 * found[n]['caught'][name] / tried:.3g} ({100 * found[n]['named'][name] / tried:.3g})"
            for n in arguments.frames
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
