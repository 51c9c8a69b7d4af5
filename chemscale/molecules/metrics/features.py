"""What the metrics need of each molecule, computed once, spread over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import BRICS, Descriptors, rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold

from chemscale.common.parallel import ordered_map
from chemscale.common.progress import ProgressBar
from chemscale.molecules.descriptors import DESCRIPTORS
from chemscale.molecules.metrics.filters import NAMES, passes

PROPERTIES = ("logP", "SA", "QED", "weight", "rings", "heavy_atoms")
"""Descriptors whose distributions are compared."""
GUACAMOL = (
    "BertzCT", "MolLogP", "MolWt", "TPSA",
    "NumHAcceptors", "NumHDonors", "NumRotatableBonds", "NumAliphaticRings", "NumAromaticRings",
)  # fmt: skip
"""Descriptors of GuacaMol's divergence, the continuous ones first."""
CONTINUOUS = 4
BITS, LONG_BITS = 1024, 4096
"""Of the Morgan fingerprints of radius 2: MOSES's, and GuacaMol's."""
CHUNK = 200
"""Molecules of a task: some seconds."""
Chunk = tuple[tuple[str, ...], bool, bool]
"""SMILES, whether GuacaMol's features are wanted, and whether filters are."""
MIN_RINGS = 2
"""Rings of a scaffold that counts, as in MOSES: a benzene ring is in most molecules."""
_OF_GUACAMOL: list[Callable[[Chem.Mol], float]] = [getattr(Descriptors, name) for name in GUACAMOL]


@dataclass(frozen=True)
class Features:
    """Of n molecules, in their order.

    Args:
        smiles: canonical.
        flat: canonical without stereo.
        properties: (n, len(PROPERTIES)).
        bits: (n, 128) bytes, the packed Morgan fingerprint of 1024 bits.
        scaffolds: Bemis and Murcko's with stereo, of two rings or more; empty where there is none.
        fragments: BRICS fragments of each.
        filters: (n, len(NAMES)) whether it passes; of no column where they were not asked for.
        guacamol: (n, len(GUACAMOL)); likewise.
        long_bits: (n, 512) bytes, the packed fingerprint of 4096 bits; likewise.
    """

    smiles: tuple[str, ...]
    flat: tuple[str, ...]
    properties: np.ndarray
    bits: np.ndarray
    scaffolds: tuple[str, ...]
    fragments: tuple[tuple[str, ...], ...]
    filters: np.ndarray
    guacamol: np.ndarray
    long_bits: np.ndarray

    def __len__(self) -> int:
        return len(self.smiles)

    def take(self, rows: np.ndarray) -> Features:
        """The features of some molecules.

        Args:
            rows: (k,) their places.
        """
        places = [int(row) for row in rows]
        return Features(
            tuple(self.smiles[i] for i in places),
            tuple(self.flat[i] for i in places),
            self.properties[rows],
            self.bits[rows],
            tuple(self.scaffolds[i] for i in places),
            tuple(self.fragments[i] for i in places),
            self.filters[rows],
            self.guacamol[rows],
            self.long_bits[rows],
        )

    @classmethod
    def join(cls, parts: Sequence[Features]) -> Features:
        """Features of several lists of molecules one after another.

        Args:
            parts: at least one.
        """
        return cls(
            tuple(text for part in parts for text in part.smiles),
            tuple(text for part in parts for text in part.flat),
            np.concatenate([part.properties for part in parts]),
            np.concatenate([part.bits for part in parts]),
            tuple(text for part in parts for text in part.scaffolds),
            tuple(each for part in parts for each in part.fragments),
            np.concatenate([part.filters for part in parts]),
            np.concatenate([part.guacamol for part in parts]),
            np.concatenate([part.long_bits for part in parts]),
        )


def compute_features(
    smiles: Sequence[str],
    *,
    guacamol: bool = True,
    filters: bool = True,
    workers: int = 1,
    title: str = "",
    silent: bool = False,
) -> Features:
    """Features of molecules.

    Args:
        smiles: canonical SMILES that RDKit reads.
        guacamol: whether GuacaMol's descriptors and fingerprints are computed too.
        filters: whether filters are.
        workers: processes.
        title: of the progress bar.
        silent: show no progress.
    """
    tasks: Iterator[Chunk] = (
        (tuple(smiles[start : start + CHUNK]), guacamol, filters) for start in range(0, len(smiles), CHUNK)
    )
    parts = [_features((), guacamol, filters)]
    with ProgressBar(title or "describe", len(smiles), "molecules", silent=silent) as progress:
        for part in ordered_map(features_of_chunk, tasks, workers):
            parts.append(part)
            progress.advance(len(part))
    return Features.join(parts)


def features_of_chunk(task: Chunk) -> Features:
    """Features of one task."""
    return _features(*task)


@lru_cache(maxsize=2)
def _generator(bits: int) -> rdFingerprintGenerator.FingerprintGenerator64:
    return rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=bits)


def _features(smiles: tuple[str, ...], guacamol: bool, filters: bool) -> Features:
    with rdBase.BlockLogs():
        molecules = [Chem.MolFromSmiles(text) for text in smiles]
        columns = len(GUACAMOL) if guacamol else 0
        values = [[of(m) for of in _OF_GUACAMOL] for m in molecules] if guacamol else []
        return Features(
            tuple(smiles),
            tuple(Chem.MolToSmiles(m, isomericSmiles=False) for m in molecules),
            _table([[DESCRIPTORS[name].of(m) for name in PROPERTIES] for m in molecules], len(PROPERTIES)),
            _packed(molecules, BITS),
            tuple(_scaffold(m) for m in molecules),
            tuple(_fragments(m) for m in molecules),
            _flags(molecules) if filters else np.empty((len(molecules), 0), dtype=bool),
            _table(values, columns) if guacamol else np.empty((len(molecules), 0)),
            _packed(molecules, LONG_BITS) if guacamol else np.empty((len(molecules), 0), dtype=np.uint8),
        )


def _flags(molecules: list[Chem.Mol]) -> np.ndarray:
    return np.array([passes(m) for m in molecules], dtype=bool).reshape(len(molecules), len(NAMES))


def _table(rows: list[list[float]], columns: int) -> np.ndarray:
    return np.array(rows, dtype=float).reshape(len(rows), columns)


def _packed(molecules: list[Chem.Mol], bits: int) -> np.ndarray:
    generator = _generator(bits)
    rows = [np.packbits(generator.GetFingerprintAsNumPy(m)) for m in molecules]
    return np.array(rows, dtype=np.uint8).reshape(len(molecules), bits // 8)


def _scaffold(molecule: Chem.Mol) -> str:
    try:
        scaffold = MurckoScaffold.GetScaffoldForMol(molecule)
    except (ValueError, RuntimeError):
        return ""
    if scaffold.GetRingInfo().NumRings() < MIN_RINGS:
        return ""
    return str(Chem.MolToSmiles(scaffold))


def _fragments(molecule: Chem.Mol) -> tuple[str, ...]:
    """BRICS fragments with their open ends (Degen et al., ChemMedChem 3, 1503, 2008)."""
    pieces = BRICS.BreakBRICSBonds(molecule)
    return tuple(str(Chem.MolToSmiles(pieces)).split("."))
