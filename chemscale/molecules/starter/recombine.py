"""The starter corpus: molecules that chemscale makes itself, so that a first run needs no download.

Known medicines are cut at BRICS bonds (Degen et al. 2008) and the pieces joined again where BRICS allows
it. The molecules are real in the sense that valence and ring chemistry hold and every piece occurs in a
medicine; most of them have never been made or measured. They teach a model the grammar of drug-like
molecules; conclusions about chemistry want a collection of measured ones (``data=smiles``).
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from rdkit import Chem, rdBase
from rdkit.Chem import BRICS, rdMolDescriptors

from chemscale.common.files import atomic_write
from chemscale.common.parallel import ordered_map, worker_count
from chemscale.common.progress import ProgressBar
from chemscale.molecules.starter.drugs import drugs

log = logging.getLogger(__name__)

SEED = 2023
CANDIDATES_PER_TASK = 2048
MIN_ATOMS, MAX_ATOMS = 10, 40
MAX_COUNT = 1_000_000
MAX_OF_TWO = 100_000
"""Of the 365,000 pairs of pieces that fit, both ways round and without regard to size."""
KNOWN_HASHES = {
    1_000: "adb4c77882cf2a2f6aecc4ba492cf620582fee852fe1349f6eca145be97e8bf8",
    50_000: "03ace0bfd4284b0340879ba1cc2e93281c999d77fc4b8465df7a08c758856764",
}
"""SHA-256 of the file for a count, made with RDKit 2026.09.1; other versions may write other SMILES."""

_FIRST_ATOM = re.compile(r"^\[\d*\*\](\[[^\]]+\]|Br|Cl|[BCNOPSFIbcnops])")
_DUMMY = re.compile(r"\(\[\d*\*\]\)|\[\d*\*\]")


class StarterError(ValueError):
    """A number of molecules that the starter corpus cannot give."""


@dataclass(frozen=True)
class Piece:
    """A piece of a medicine with one or two open bonds.

    Args:
        text: SMILES whose open bonds are ring closures %91 (and %92).
        labels: BRICS environment of each open bond.
        atoms: heavy atoms.
    """

    text: str
    labels: tuple[str, ...]
    atoms: int


@dataclass(frozen=True)
class Pieces:
    """All pieces of all medicines.

    Args:
        caps: those of one open bond.
        cores: those of two.
        fitting: environment → caps that BRICS lets it bond to.
    """

    caps: tuple[Piece, ...]
    cores: tuple[Piece, ...]
    fitting: dict[str, tuple[Piece, ...]]


def write_starter(path: Path, count: int, *, pieces: int | None = None, workers: int | None = None) -> None:
    """Write distinct molecules, one SMILES a line; the same bytes for any number of workers.

    Args:
        path: of the file.
        count: how many.
        pieces: of which each is made, 2 or 3; None for the medicines themselves and both.
        workers: processes; None for one a core.

    Raises:
        StarterError: count is not between 100 and a million.
    """
    most = MAX_OF_TWO if pieces == 2 else MAX_COUNT
    if not 100 <= count <= most:
        of = f" of {pieces} pieces" if pieces else ""
        raise StarterError(f"data.count={count}: between 100 and {most:,}{of} can be made.")
    text = "".join(f"{smiles}\n" for smiles in starter_smiles(count, pieces=pieces, workers=workers)).encode()
    known = KNOWN_HASHES.get(count) if pieces is None else None
    if known and hashlib.sha256(text).hexdigest() != known:
        log.warning(
            "The starter molecules differ from the reference: RDKit %s writes some SMILES in another way. "
            "Losses are comparable only between runs on the same corpus hash.",
            rdBase.rdkitVersion,
        )
    with atomic_write(path, "wb") as file:
        file.write(text)


def starter_smiles(count: int, *, pieces: int | None = None, workers: int | None = None) -> list[str]:
    """Distinct canonical SMILES: the medicines first, then recombinations in a fixed order.

    Args:
        count: how many.
        pieces: of which each is made, 2 or 3; None for the medicines themselves and both.
        workers: processes; None for one a core.
    """
    medicines = drugs().values() if pieces is None else ()
    found = dict.fromkeys(Chem.CanonSmiles(smiles) for smiles in medicines)
    tasks = itertools.count(0, CANDIDATES_PER_TASK)
    with ProgressBar("starter molecules", count, "molecules") as progress:
        for batch in ordered_map(partial(recombine, wanted=pieces), tasks, worker_count(workers)):
            before = len(found)
            found.update(dict.fromkeys(batch))
            progress.advance(min(len(found), count) - before)
            if len(found) >= count:
                break
    return list(itertools.islice(found, count))


def recombine(first: int, wanted: int | None = None) -> list[str]:
    """Molecules among the next candidates, as canonical SMILES: a pure function of the first one's number.

    Args:
        first: number of the first of ``CANDIDATES_PER_TASK`` candidates.
        wanted: pieces of a candidate; None for all.
    """
    pieces = cut_drugs()
    with rdBase.BlockLogs():
        numbers = range(first, first + CANDIDATES_PER_TASK)
        candidates = (_candidate(pieces, number, wanted) for number in numbers)
        return [smiles for text in candidates if text and (smiles := _drug_like(text))]


def _candidate(pieces: Pieces, number: int, wanted: int | None) -> str | None:
    """Candidate of a number: cap–core–cap two times of three, else cap–cap.

    None where the size is wrong or nothing fits, or where another number of pieces is wanted.
    """
    draw = hashlib.blake2b(f"{SEED}/{number}".encode(), digest_size=16).digest()
    a, b, c, kind = (int.from_bytes(draw[i : i + 4], "little") for i in range(0, 16, 4))
    if wanted is not None and wanted != (3 if kind % 3 else 2):
        return None
    if kind % 3:
        core = pieces.cores[a % len(pieces.cores)]
        left, right = (pieces.fitting[label] for label in core.labels)
        if not left or not right:
            return None
        parts = [core, left[b % len(left)], right[c % len(right)]]
        text = f"{core.text}.{parts[1].text}.{parts[2].text.replace('%91', '%92')}"
    else:
        cap = pieces.caps[a % len(pieces.caps)]
        others = pieces.fitting[cap.labels[0]]
        if not others:
            return None
        parts = [cap, others[b % len(others)]]
        text = f"{cap.text}.{parts[1].text}"
    return text if MIN_ATOMS <= sum(part.atoms for part in parts) <= MAX_ATOMS else None


def _drug_like(text: str) -> str | None:
    """Canonical SMILES of a molecule within generous drug-like bounds (Lipinski et al. 1997, Veber 2002)."""
    molecule = Chem.MolFromSmiles(text)
    if (
        molecule is None
        or rdMolDescriptors.CalcNumHBD(molecule) > 5
        or rdMolDescriptors.CalcNumHBA(molecule) > 10
        or rdMolDescriptors.CalcNumRotatableBonds(molecule) > 10
        or rdMolDescriptors.CalcNumRings(molecule) > 6
    ):
        return None
    return Chem.MolToSmiles(molecule)


@lru_cache(maxsize=1)
def cut_drugs() -> Pieces:
    """Every piece of every medicine with one or two open bonds; each distinct piece once."""
    found: dict[str, Piece] = {}
    for smiles in drugs().values():
        for piece in _cut(Chem.MolFromSmiles(smiles)):
            found.setdefault(f"{piece.text} {piece.labels}", piece)
    ordered = [found[key] for key in sorted(found)]
    caps = tuple(p for p in ordered if len(p.labels) == 1)
    allowed = _allowed_pairs()
    labels = {label for piece in ordered for label in piece.labels}
    fitting = {label: tuple(c for c in caps if (label, c.labels[0]) in allowed) for label in labels}
    return Pieces(caps, tuple(p for p in ordered if len(p.labels) == 2), fitting)


def _cut(molecule: Chem.Mol) -> Iterator[Piece]:
    """Pieces that one or two cuts of BRICS bonds leave."""
    # Environment 7 is the only double bond of BRICS: a ring closure would make it single.
    bonds = [bond for bond in BRICS.FindBRICSBonds(molecule) if "7" not in bond[1][0] + bond[1][1]]
    for cuts in itertools.chain(itertools.combinations(bonds, 1), itertools.combinations(bonds, 2)):
        for piece in Chem.GetMolFrags(BRICS.BreakBRICSBonds(molecule, bonds=list(cuts)), asMols=True):
            if (made := _piece(piece)) is not None:
                yield made


def _piece(piece: Chem.Mol) -> Piece | None:
    """A fragment with dummy atoms as a piece; None where it is too small or large, or does not close."""
    dummies = [atom for atom in piece.GetAtoms() if atom.GetAtomicNum() == 0]
    atoms = piece.GetNumHeavyAtoms() - sum(1 for d in dummies if d.GetAtomicNum() > 1)
    if len(dummies) > 2 or not 2 <= atoms <= 24:
        return None
    smiles = Chem.MolToSmiles(piece, rootedAtAtom=dummies[0].GetIdx())
    order = [int(n) for n in re.findall(r"\[(\d+)\*\]", smiles)]
    text, replaced = _FIRST_ATOM.subn(r"\1%91", smiles)
    if not replaced:
        return None
    text = _DUMMY.sub("%92", text)
    closed = text + ".C%91" + (".C%92" if len(dummies) == 2 else "")
    with rdBase.BlockLogs():
        whole = Chem.MolFromSmiles(closed)
    if whole is None or len(Chem.GetMolFrags(whole)) != 1:
        return None
    return Piece(text, tuple(str(n) for n in order), atoms)


def _allowed_pairs() -> set[tuple[str, str]]:
    """Pairs of environments that BRICS joins by a single bond, both ways round."""
    pairs = {(a, b) for definitions in BRICS.reactionDefs for a, b, bond in definitions if bond == "-"}
    return pairs | {(b, a) for a, b in pairs}
