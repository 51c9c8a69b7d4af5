"""The symbols of a canonical SMILES in the notation of a corpus, or why there are none."""

from __future__ import annotations

from collections.abc import Sequence

from rdkit import Chem, rdBase

from chemscale.molecules.preparation.notations import explain_encoder
from chemscale.molecules.preparation.standardize import (
    ANY_LENGTH,
    Molecule,
    Policy,
    Reason,
    Rejected,
    encode,
    standardize,
)
from chemscale.molecules.tokenizers.atomwise import split_atomwise
from chemscale.molecules.tokenizers.converters import (
    MissingPackageError,
    smiles_to_text,
    text_to_smiles,
)
from chemscale.molecules.tokenizers.notation import NOTATIONS, TokenizerError

CANNOT = {"deepsmiles": Reason.NO_DEEPSMILES, "safe": Reason.NO_SAFE}


def symbols_of(
    smiles: str, policy: Policy, notation: str = "selfies", common_to: Sequence[str] = ()
) -> list[str] | Rejected:
    """Symbols of a molecule in one notation, where some others can express it too.

    What DeepSMILES and SAFE make of a molecule is read back: another molecule is never trained on.

    Args:
        smiles: canonical.
        policy: how many symbols are allowed, in each notation.
        notation: of the symbols.
        common_to: notations that must be able to express the molecule.

    Raises:
        MissingPackageError: the package of a notation is not installed.
    """
    found = _selfies(smiles, policy) if notation == "selfies" else _atomwise(smiles, policy, notation)
    if isinstance(found, Rejected):
        return found
    for other in common_to:
        if other != notation and isinstance(there := symbols_of(smiles, policy, other), Rejected):
            return Rejected(
                Reason.NOT_COMMON, f"{NOTATIONS[other]}: {there.reason.value}; {there.detail}"[:300]
            )
    return found


def _selfies(smiles: str, policy: Policy) -> list[str] | Rejected:
    found = encode(smiles, policy)
    if isinstance(found, Rejected) and found.reason is Reason.NO_SELFIES:
        return Rejected(found.reason, explain_encoder(smiles))
    return found


def _atomwise(smiles: str, policy: Policy, notation: str) -> list[str] | Rejected:
    try:
        text = smiles_to_text(smiles, notation)
    except MissingPackageError:
        raise
    except TokenizerError as error:
        return Rejected(CANNOT[notation], str(error)[:200])
    symbols = split_atomwise(text)
    if len(symbols) > policy.max_symbols:
        return Rejected(Reason.TOO_MANY_SYMBOLS, str(len(symbols)))
    if notation != "smiles" and (back := _read_back(text_to_smiles(text, notation), smiles)) != smiles:
        return Rejected(Reason.READ_BACK, f"{text[:120]} is {back or 'no molecule'}"[:300])
    return symbols


def _read_back(text: str, smiles: str) -> str:
    """Canonical SMILES of a SMILES; empty where it is no molecule."""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(text)
        if molecule is not None and Chem.MolToSmiles(molecule) == smiles:
            return smiles  # as nearly always: the passes of standardize are for the rest
    found = standardize(text, ANY_LENGTH)
    return found.smiles if isinstance(found, Molecule) else ""
