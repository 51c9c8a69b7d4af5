"""Notations that are written with the symbols of SMILES: from a molecule's SMILES and back.

- ``smiles``: itself.
- ``deepsmiles`` (O'Boyle and Dalke 2018, doi.org/10.26434/chemrxiv.7097960): a ring closes by its size, a
  branch by brackets that count its atoms; both by the authors' package ``deepsmiles``.
- ``safe`` (Noutahi et al. 2024, doi.org/10.1039/D4DD00019F): blocks that BRICS cuts a molecule into, joined
  by ring closures across dots, by the authors' package ``safe-mol``. What BRICS cannot cut is one block. A
  SAFE text is SMILES and is read as such: nothing is mended (the package's own decoder closes open ends by
  default, which makes more texts valid).
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from chemscale.molecules.tokenizers.notation import NOTATIONS, TokenizerError

EXTRAS = {"deepsmiles": ("deepsmiles", "notations"), "safe": ("safe", "safe")}
"""Notation → the module that it needs, and the extra of chemscale that brings it."""
PACKAGES = {"deepsmiles": "deepsmiles", "safe": "safe-mol"}
"""Notation → the distribution whose version decides its texts."""
RULES = {
    "smiles": {"symbols": "atom-wise"},
    "deepsmiles": {"symbols": "atom-wise", "rings": "sizes", "branches": "closing brackets"},
    "safe": {"symbols": "atom-wise", "slicer": "brics"},
}
"""Notation → what decides its texts, as tokenizers record it."""


class MissingPackageError(TokenizerError):
    """A notation whose package is not installed."""


def check_installed(notation: str) -> None:
    """Refuse a notation whose package is absent, before anything is spent.

    Args:
        notation: one of ``NOTATIONS``.

    Raises:
        MissingPackageError: the message says how to get it.
        TokenizerError: there is no such notation.
    """
    if notation not in NOTATIONS:
        raise TokenizerError(f"{notation!r} is no notation: choose one of {', '.join(NOTATIONS)}.")
    module, extra = EXTRAS.get(notation, ("selfies", ""))
    if find_spec(module) is None:
        raise MissingPackageError(
            f"{NOTATIONS[notation]} needs the package {module}, which is not installed: "
            f"pip install 'chemscale[{extra}]'."
        )


def smiles_to_text(smiles: str, notation: str) -> str:
    """A molecule in a notation of SMILES symbols.

    Args:
        smiles: of the molecule, canonical: SMILES that no toolkit writes may be misread by ``deepsmiles``.
        notation: smiles | deepsmiles | safe.

    Raises:
        MissingPackageError: the notation's package is not installed.
        TokenizerError: the notation cannot express the molecule.
    """
    check_installed(notation)
    if not smiles:
        raise TokenizerError("An empty text is no molecule.")
    if notation == "smiles":
        return smiles
    try:
        text = _deepsmiles().encode(smiles) if notation == "deepsmiles" else _safe(smiles)
    except Exception as error:  # the packages raise whatever their code runs into, a bare Exception included
        reason = " ".join(str(error.__cause__ or error).split())[:200] or type(error).__name__
        raise TokenizerError(f"{NOTATIONS[notation]} cannot express {smiles!r}: {reason}") from None
    return str(text)


def text_to_smiles(text: str, notation: str) -> str:
    """SMILES of a text; not canonical, and not yet read by RDKit, which may refuse it.

    Args:
        text: in the notation, whatever a model wrote: nothing is raised for it.
        notation: smiles | deepsmiles | safe.

    Returns:
        Empty where the notation makes no SMILES of it.

    Raises:
        MissingPackageError: the notation's package is not installed.
    """
    if notation != "deepsmiles" or not text:
        return text
    check_installed(notation)
    try:
        return str(_deepsmiles().decode(text))
    except Exception:  # as above: DecodeError for most texts, IndexError and others for some
        return ""


@lru_cache(maxsize=1)
def _deepsmiles() -> Any:
    import deepsmiles

    return deepsmiles.Converter(rings=True, branches=True)


def _safe(smiles: str) -> str:
    import safe

    return str(safe.encode(smiles, canonical=True, allow_empty=True))
