"""What a generation begins with: a prompt, or a scaffold to decorate, as ids behind the begin symbol."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem, rdBase

from chemscale.molecules.tokenizers.notation import NotationError, TokenizerError, UnknownSymbolError
from chemscale.molecules.tokenizers.opening import AnyTokenizer

ORDERS = 24
"""Orders of its atoms that are tried for each atom of a scaffold that is to come last."""


class PromptError(ValueError):
    """A prompt or a scaffold that no molecule of this model can begin with."""


@dataclass(frozen=True)
class Start:
    """Symbols that a molecule begins with.

    Args:
        ids: without begin and end.
        text: that was given, or the SMILES that was encoded.
    """

    ids: tuple[int, ...]
    text: str


def prompt_start(tokenizer: AnyTokenizer, text: str) -> Start:
    """A prompt in the model's own notation, or a SMILES, as the ids of a molecule that is not yet at its end.

    Args:
        tokenizer: of the model.
        text: such as ``[C][=C]`` or ``CC(=O)N``; the order of its atoms is kept.

    Raises:
        PromptError: it is neither.
        UnknownSymbolError: a symbol that the vocabulary lacks, by its name.
    """
    try:
        ids = tokenizer.encode(text.strip())
    except NotationError as error:
        if _molecule(text) is None:
            raise PromptError(
                f"--prompt {text[:80]!r}: neither text in the notation of this model "
                f"({tokenizer.representation.notation}) nor a SMILES that RDKit reads. ({error})"
            ) from None
        ids = tokenizer.from_smiles(text.strip())
    special = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id}
    ids = [i for i in ids if i not in special]
    if not ids:
        raise PromptError(f"--prompt {text!r}: no symbol in it; leave it out to begin with nothing.")
    return Start(tuple(ids), text)


@dataclass(frozen=True)
class Scaffold:
    """A scaffold and the ways to begin with it: one for each different atom that can carry more.

    Args:
        smiles: canonical, without the marks of attachment.
        starts: the whole scaffold, each time with another atom last, where the molecule goes on.
    """

    smiles: str
    starts: tuple[Start, ...]

    def is_in(self, molecule: Chem.Mol) -> bool:
        """Whether a molecule contains the scaffold.

        Args:
            molecule: any.
        """
        return bool(molecule.HasSubstructMatch(Chem.MolFromSmiles(self.smiles)))


def scaffold_starts(tokenizer: AnyTokenizer, smiles: str) -> Scaffold:
    """Write a scaffold so that each of its atoms with a free hydrogen comes last once.

    The next symbol of a SELFIES is bonded to the last atom: so decoration grows from there. Atoms that are
    alike by symmetry count once. ``*`` marks the atoms that may carry more, if only some may.

    Args:
        tokenizer: of the model.
        smiles: of the scaffold, as ``c1ccc(*)nc1`` or without marks.

    Raises:
        PromptError: no SMILES, several fragments, or no atom that can carry more.
        UnknownSymbolError: the vocabulary cannot write it, in no order; a symbol that it lacks.
    """
    molecule = _molecule(smiles)
    if molecule is None:
        raise PromptError(f"--scaffold {smiles[:80]!r}: RDKit cannot read it as SMILES.")
    scaffold, places = _places(molecule, smiles)
    starts, refused = [], None
    for atom in places:
        try:
            found = _ending_at(tokenizer, scaffold, atom)
        except UnknownSymbolError as error:
            refused = error
            continue
        if found is not None:
            starts.append(found)
    if refused is not None and not starts:
        raise UnknownSymbolError(refused.symbol, f"--scaffold {smiles} cannot be written without it.")
    if not starts:
        raise PromptError(
            f"--scaffold {smiles}: no order of its atoms ends with one that can carry more and is read back "
            "as the same molecule. Mark another atom with *, or give a larger part as --prompt."
        )
    return Scaffold(Chem.MolToSmiles(scaffold), tuple(dict.fromkeys(starts)))


def _molecule(smiles: str) -> Chem.Mol | None:
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(smiles.strip()) if smiles.strip() else None


def _places(molecule: Chem.Mol, smiles: str) -> tuple[Chem.Mol, list[int]]:
    """The scaffold without its marks, and its atoms that may carry more, one of each symmetry class."""
    if len(Chem.GetMolFrags(molecule)) > 1:
        raise PromptError(f"--scaffold {smiles}: several fragments; give one.")
    marks = [atom for atom in molecule.GetAtoms() if atom.GetAtomicNum() == 0]
    for mark in marks:
        for neighbour in mark.GetNeighbors():
            neighbour.SetBoolProp("carries", True)
    editable = Chem.RWMol(molecule)
    for index in sorted((mark.GetIdx() for mark in marks), reverse=True):
        bond = editable.GetAtomWithIdx(index).GetBonds()
        for neighbour in [b.GetOtherAtom(editable.GetAtomWithIdx(index)) for b in bond]:
            # The mark stands for a hydrogen that RDKit would not add by itself.
            if neighbour.GetNoImplicit() or (neighbour.GetIsAromatic() and neighbour.GetSymbol() != "C"):
                neighbour.SetNumExplicitHs(neighbour.GetNumExplicitHs() + 1)
        editable.RemoveAtom(index)
    scaffold = editable.GetMol()
    try:
        Chem.SanitizeMol(scaffold)
    except Chem.MolSanitizeException as error:
        raise PromptError(f"--scaffold {smiles}: without its marks it is no molecule ({error}).") from None
    ranks = list(Chem.CanonicalRankAtoms(scaffold, breakTies=False))
    chosen: dict[int, int] = {}
    for atom in scaffold.GetAtoms():
        if (atom.HasProp("carries") or not marks) and atom.GetTotalNumHs() > 0:
            chosen.setdefault(ranks[atom.GetIdx()], atom.GetIdx())
    if not chosen:
        raise PromptError(f"--scaffold {smiles}: no atom of it has a hydrogen that could be replaced.")
    return scaffold, list(chosen.values())


def _ending_at(tokenizer: AnyTokenizer, scaffold: Chem.Mol, atom: int) -> Start | None:
    """The scaffold with one atom last that is read back as itself; None where no order that is tried is."""
    expected = Chem.MolToSmiles(scaffold)
    random = np.random.default_rng(atom)
    for _ in range(ORDERS):
        order = random.permutation(scaffold.GetNumAtoms()).tolist()
        shuffled = Chem.RenumberAtoms(scaffold, [i for i in order if i != atom] + [atom])
        last = shuffled.GetAtomWithIdx(scaffold.GetNumAtoms() - 1)
        if last.GetNumExplicitHs():  # [nH] is written with its hydrogen: as Kekulé form it is N, and open
            Chem.Kekulize(shuffled, clearAromaticFlags=True)
            last.SetNumExplicitHs(0)
            last.SetNoImplicit(False)
        text = Chem.MolToSmiles(shuffled, canonical=False)
        written = list(shuffled.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
        if written[-1] != last.GetIdx() or re.search(r"[\])][\d%]*$", text):
            continue
        try:
            ids = tokenizer.from_smiles(text)
        except UnknownSymbolError:
            raise
        except TokenizerError as error:
            raise PromptError(f"--scaffold {expected}: {error}") from None
        back = _molecule(tokenizer.to_smiles(ids))
        if back is not None and Chem.MolToSmiles(back) == expected:
            return Start(tuple(ids), text)
    return None


def longest(starts: Sequence[Start]) -> int:
    """Symbols of the longest start; 0 where there is none.

    Args:
        starts: of one generation.
    """
    return max((len(start.ids) for start in starts), default=0)
