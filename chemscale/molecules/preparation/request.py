"""What decides a corpus: its files, the policies, the notation, the tools; and the key of all that."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rdkit
import selfies

from chemscale.common.hashes.remembered import file_sha256
from chemscale.molecules.corpus import SCHEMA_VERSION, CorpusError
from chemscale.molecules.overlap.exclusion import Exclusion
from chemscale.molecules.preparation.conditions.request import ConditionRequest, check_tokenizer
from chemscale.molecules.preparation.standardize import Policy
from chemscale.molecules.tokenizers.converters import PACKAGES, check_installed
from chemscale.molecules.tokenizers.notation import NOTATIONS
from chemscale.molecules.tokenizers.opening import AnyTokenizer

RULES = 2
"""Of what is one molecule, and of what is read of a file: another number makes another folder of a corpus."""


@dataclass(frozen=True)
class Request:
    """What decides a corpus.

    Args:
        files: of SMILES, in order.
        policy: what is kept of a molecule.
        smiles_column: name or number of the column of SMILES; None to find it.
        validation_fraction: share of molecules that is held out.
        tokenizer: a vocabulary to keep to; None to make one.
        delimiter: between the cells of text files; None to find it.
        encoding: of text files; None for UTF-8 or what a byte order mark says.
        notation: that molecules are written in.
        common_to: other notations that must be able to express each of them.
        conditions: what stands before each molecule; None for nothing.
        exclude: sets whose molecules are left out; None for none.

    Raises:
        CorpusError: the fraction does not lie between 0 and 1, or the vocabulary is of another notation.
        TokenizerError: there is no such notation, or its package is not installed.
        ConditionValueError: the tokenizer has other conditions.
    """

    files: tuple[Path, ...]
    policy: Policy
    smiles_column: str | int | None
    validation_fraction: float
    tokenizer: AnyTokenizer | None
    delimiter: str | None = None
    encoding: str | None = None
    notation: str = "selfies"
    common_to: tuple[str, ...] = ()
    conditions: ConditionRequest | None = None
    exclude: Exclusion | None = None

    def __post_init__(self) -> None:
        for notation in (self.notation, *self.common_to):
            check_installed(notation)
        of = self.tokenizer.representation if self.tokenizer else None
        if of is not None and of.notation != self.notation:
            raise CorpusError(
                f"data.notation={self.notation}, but data.tokenizer is of {of.title}: ids of one notation "
                f"mean nothing in another. Leave data.notation out (it is then {of.notation}), or name a "
                f"tokenizer of {NOTATIONS[self.notation]}."
            )
        check_tokenizer(self.conditions, self.tokenizer)
        if not 0 < self.validation_fraction < 1:
            raise CorpusError(
                f"data.validation_fraction={self.validation_fraction}: must lie between 0 and 1."
            )

    def content(self) -> dict[str, Any]:
        """Everything that decides the bytes of the corpus; no path but the file names."""
        notations = sorted({self.notation, *self.common_to})
        tools = {name: version(name) for each in notations if (name := PACKAGES.get(each))}
        others: dict[str, Any] = {} if self.notation == "selfies" else {"notation": self.notation}
        if len(notations) > 1:
            others["common_to"] = notations
        if self.conditions:
            others["conditions"] = self.conditions.to_dict()
        if self.exclude:
            others["exclude"] = self.exclude.content()
        return {
            **others,
            "schema_version": SCHEMA_VERSION,
            "rules": RULES,
            "inputs": [
                {"file": f.name, "sha256": file_sha256(f), "bytes": f.stat().st_size} for f in self.files
            ],
            "policy": self.policy.to_dict(),
            "smiles_column": self.smiles_column,
            "reading": {"delimiter": self.delimiter, "encoding": self.encoding},
            "validation_fraction": self.validation_fraction,
            "tokenizer": self.tokenizer.hash if self.tokenizer else None,
            "tools": {
                "python": platform.python_version(),
                "rdkit": rdkit.__version__,
                "selfies": selfies.__version__,
                **tools,
            },
        }


def content_key(content: dict[str, Any]) -> str:
    """Short hash of what ``Request.content`` gives: the key of a corpus."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
