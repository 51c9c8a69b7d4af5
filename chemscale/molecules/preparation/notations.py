"""What a cell holds, to SMILES: SELFIES and records of SDF files; and what is wrong with a text."""

from __future__ import annotations

import logging
import re
import warnings

import selfies
from rdkit import Chem, rdBase

from chemscale.molecules.preparation.sources.columns import SELFIES
from chemscale.molecules.preparation.sources.source import RAGGED
from chemscale.molecules.preparation.standardize import MAX_ATOMS, MAX_SYMBOLS, Reason, Rejected
from chemscale.molecules.selfies_symbols import ENCODER_ERRORS

MAX_EXPLAINED = 2000
"""Characters of the longest text whose fault is looked for."""
PLAIN_GROUPS = {"SUP", "DAT", "MUL", "GEN", None}
"""Groups of atoms in a record that do not change which molecule it is."""
OLD_SELFIES = ("[Branch1_", "[Branch2_", "[Expl", "expl]")


def to_smiles(text: str, notation: str) -> str | Rejected:
    """SMILES, not yet standardised, of a cell.

    Args:
        text: of the cell, whatever it may contain: nothing is raised for it.
        notation: smiles | selfies | molblock | ragged.
    """
    if notation == RAGGED:
        return Rejected(Reason.RAGGED, "a delimiter that is not quoted? The molecule cannot be told")
    if notation == "molblock":
        return _from_record(text)
    if "\0" in text:
        return Rejected(Reason.NUL, f"at character {text.index(chr(0)) + 1}")
    if text.startswith("#"):
        return Rejected(Reason.COMMENT)
    return _from_selfies(text) if notation == "selfies" and text else text


def _from_record(text: str) -> str | Rejected:
    with rdBase.BlockLogs():
        try:
            molecule = Chem.MolFromMolBlock(text)
            if molecule is not None:
                return _written(molecule)
            raw = Chem.MolFromMolBlock(text, sanitize=False)
        except (ValueError, RuntimeError) as error:
            return Rejected(Reason.RECORD, str(error).strip().splitlines()[0][:200])
    if raw is None:
        return Rejected(Reason.RECORD, "not a structure of V2000 or V3000")
    return Rejected(Reason.RECORD, _problems(raw))


def _written(molecule: Chem.Mol) -> str | Rejected:
    """SMILES of a record, with an extension where it says more than one molecule."""
    if not molecule.GetNumAtoms():
        return Rejected(Reason.RECORD, "no atom")
    if molecule.GetNumAtoms() > MAX_ATOMS:
        return Rejected(Reason.RECORD, f"{molecule.GetNumAtoms()} atoms, more than RDKit can order")
    groups = [group.GetPropsAsDict().get("TYPE") for group in Chem.GetMolSubstanceGroups(molecule)]
    if molecule.GetStereoGroups() or not set(groups) <= PLAIN_GROUPS:
        molecule.RemoveAllConformers()
        return str(Chem.MolToCXSmiles(molecule))
    return str(Chem.MolToSmiles(molecule))


def _from_selfies(text: str) -> str | Rejected:
    if not SELFIES.fullmatch(text):
        return Rejected(Reason.SELFIES, "not symbols in brackets")
    if (symbols := text.count("[")) > MAX_SYMBOLS:  # decoding is slow; no corpus holds as many
        return Rejected(Reason.TOO_LONG, f"{symbols} symbols")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the text is of an older SELFIES
            smiles = selfies.decoder(text, compatible=any(mark in text for mark in OLD_SELFIES))
    except (selfies.DecoderError, ValueError, KeyError, IndexError, RecursionError) as error:
        return Rejected(Reason.SELFIES, (str(error).strip() or "unknown").splitlines()[0][:200])
    return str(smiles) if smiles else Rejected(Reason.SELFIES, "no atom")


def explain_unparsable(text: str) -> str:
    """What RDKit has against a SMILES: the atom, or the place in the text.

    Args:
        text: that it does not read.
    """
    if len(text) > MAX_EXPLAINED:
        return ""
    heard: list[str] = []
    logger = logging.getLogger("rdkit")
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [_Collector(heard)], False
    rdBase.LogToPythonLogger()
    try:
        raw = Chem.MolFromSmiles(text, sanitize=False)
    except (SystemError, UnicodeError):  # its words quote a part of a character
        return ""
    finally:
        rdBase.LogToCppStreams()
        logger.handlers, logger.propagate = handlers, propagate
    if raw is not None:
        return _problems(raw)
    said = " ".join(heard)
    if place := re.search(r"around position (\d+)", said):
        position = int(place[1])
        return f"{text[position - 1 : position]!r} at character {position}"
    found = re.search(r"(?:SMILES Parse Error|Error): ([^\n]+?)(?: for input| while parsing|$)", said)
    return found[1][:200] if found else ""


class _Collector(logging.Handler):
    def __init__(self, heard: list[str]):
        super().__init__()
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


def _problems(raw: Chem.Mol) -> str:
    with rdBase.BlockLogs():
        return "; ".join(problem.Message() for problem in Chem.DetectChemistryProblems(raw))[:200]


def explain_wildcard(smiles: str) -> str:
    """The atoms of a SMILES that are no elements.

    Args:
        smiles: that RDKit reads.
    """
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        return ""
    atoms = [atom for atom in molecule.GetAtoms() if atom.GetAtomicNum() == 0]
    return ", ".join(f"atom {atom.GetIdx()}: {atom.GetSmarts()}" for atom in atoms)[:200]


def explain_encoder(smiles: str) -> str:
    """What the SELFIES encoder has against a SMILES: the atom.

    Args:
        smiles: that it does not encode.
    """
    try:
        selfies.encoder(smiles)
    except selfies.EncoderError as error:
        lines = [line.strip() for line in str(error).splitlines() if not line.strip().startswith("SMILES:")]
        return " ".join(line for line in lines if line not in ("", "Errors:"))[:200]
    except ENCODER_ERRORS as error:
        return f"the selfies package fails on it ({type(error).__name__}: {error})"[:200]
    return ""
