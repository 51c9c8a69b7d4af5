"""A tokenizer from its files, whichever of ours or of the published ones it is."""

from __future__ import annotations

from pathlib import Path

from chemscale.molecules.tokenizers.conditioned import ConditionedTokenizer, Conditions
from chemscale.molecules.tokenizers.notation import TokenizerError
from chemscale.molecules.tokenizers.published import ChemGPTTokenizer
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer

AnyTokenizer = SelfiesTokenizer | ChemGPTTokenizer | ConditionedTokenizer


def load_tokenizer(path: Path) -> AnyTokenizer:
    """Open a tokenizer of chemscale or one published with ChemGPT, with the conditions that stand beside it.

    Args:
        path: a folder (of a corpus, a model or a download), or a ``tokenizer.json``.

    Raises:
        TokenizerError: it is neither.
    """
    base, file = _without_conditions(path), Path(path)
    conditions = Conditions.load(file.parent if file.name == "tokenizer.json" else file)
    return base if conditions is None else ConditionedTokenizer(base, conditions)


def _without_conditions(path: Path) -> SelfiesTokenizer | ChemGPTTokenizer:
    try:
        return SelfiesTokenizer.load(path)
    except TokenizerError as ours:
        try:
            return ChemGPTTokenizer.load(path)
        except TokenizerError as published:
            if not Path(path).exists():
                raise TokenizerError(
                    f"{path}: no such file or folder. A tokenizer is a saved folder or its tokenizer.json; "
                    "names on a hub are not fetched."
                ) from None
            raise TokenizerError(
                f"No tokenizer that this chemscale reads. As one of its own: {ours} As one published with "
                f"ChemGPT: {published}"
            ) from None
