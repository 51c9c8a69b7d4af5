"""The molecules that are judged: every sequence of a sample with what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import selfies

from chemscale.molecules.preparation.standardize import ANY_LENGTH, Molecule, standardize
from chemscale.molecules.selfies_symbols import ENCODER_ERRORS, selfies_symbols
from chemscale.molecules.tokenizers.notation import TokenizerError
from chemscale.molecules.tokenizers.opening import AnyTokenizer


class Fate(StrEnum):
    """What became of one sequence; each has exactly one, the first that holds."""

    TRUNCATED = "truncated"
    """It reached the greatest length without an end."""
    EMPTY = "empty"
    """It holds no symbol."""
    UNDECODABLE = "undecodable"
    """Its notation makes no molecule of it."""
    REFUSED = "refused"
    """RDKit refuses what it decodes to."""
    REWRITTEN = "rewritten"
    """A molecule, but not the written one: encoded again it reads differently, so the decoder ignored or
    changed symbols."""
    EXACT = "exact"
    """A molecule as written."""


MEANINGS = {
    Fate.TRUNCATED: "reached the greatest length without an end symbol",
    Fate.EMPTY: "no symbol",
    Fate.UNDECODABLE: "the notation makes no molecule of it",
    Fate.REFUSED: "RDKit refuses it",
    Fate.REWRITTEN: "a molecule, but encoded again it reads differently: symbols were ignored or changed",
    Fate.EXACT: "a molecule, as it was written",
}


@dataclass(frozen=True)
class Drawn:
    """One sequence.

    Args:
        text: as written, in its notation.
        smiles: canonical; empty where it is no molecule. A truncated sequence may be one.
        fate: what became of it.
        detail: for people, of what was refused.
    """

    text: str
    smiles: str
    fate: Fate
    detail: str = ""


@dataclass(frozen=True)
class Samples:
    """A sample in the order in which it was drawn.

    Args:
        drawn: its sequences.
        written: whether sequences are known as they were written: else nothing can be said of truncated
            and rewritten ones.
        source: where they come from.
    """

    drawn: tuple[Drawn, ...]
    written: bool
    source: str

    @property
    def valid(self) -> list[str]:
        """Canonical SMILES of the valid ones, duplicates included."""
        return [each.smiles for each in self.drawn if each.smiles]

    def fates(self) -> dict[str, int]:
        """How many had each fate."""
        counts = Counter(each.fate for each in self.drawn)
        return {fate.value: counts.get(fate, 0) for fate in Fate}

    def refusals(self, most: int = 8) -> list[dict[str, Any]]:
        """The commonest reasons why sequences are no molecules, with an example each.

        Args:
            most: reasons.
        """
        reasons: Counter[str] = Counter()
        example: dict[str, str] = {}
        for each in self.drawn:
            if not each.smiles:
                reason = each.detail or each.fate.value
                reasons[reason] += 1
                example.setdefault(reason, each.text[:200])
        return [
            {"reason": reason, "count": count, "example": example[reason]}
            for reason, count in reasons.most_common(most)
        ]


def of_ids(sequences: Iterable[list[int]], tokenizer: AnyTokenizer) -> list[Drawn]:
    """What became of sequences of symbol ids.

    Args:
        sequences: one without the end symbol was truncated.
        tokenizer: that decodes them.
    """
    return [_of_sequence(ids, tokenizer) for ids in sequences]


def _of_sequence(ids: list[int], tokenizer: AnyTokenizer) -> Drawn:
    ended = bool(ids) and ids[-1] == tokenizer.eos_id
    symbols = ids[:-1] if ended else ids
    text = tokenizer.decode(ids)
    written = tokenizer.to_smiles(ids) if symbols else ""
    smiles, detail = _canonical(written)
    if not ended:
        return Drawn(text, smiles, Fate.TRUNCATED, "" if smiles else detail)
    if not symbols:
        return Drawn(text, "", Fate.EMPTY)
    if not written:
        return Drawn(text, "", Fate.UNDECODABLE)
    if not smiles:
        return Drawn(text, "", Fate.REFUSED, detail)
    if written == text:  # SMILES and SAFE are read as they stand: another order of blocks is no rewriting
        return Drawn(text, smiles, Fate.EXACT)
    try:
        again = tokenizer.from_smiles(written)
    except TokenizerError:  # what it decodes to holds symbols that nobody wrote
        again = []
    return Drawn(text, smiles, Fate.EXACT if again == symbols else Fate.REWRITTEN)


def of_row(text: str, *, selfies_text: str | None = None, truncated: bool | None = None) -> Drawn:
    """What became of a row of a file.

    Args:
        text: SMILES; empty where whoever wrote the file had none.
        selfies_text: as it was generated, where the file has it.
        truncated: whether it lacks an end, where the file says so.
    """
    smiles, detail = _canonical(text)
    shown = selfies_text if selfies_text is not None else text
    if truncated:
        return Drawn(shown, smiles, Fate.TRUNCATED, "" if smiles else detail)
    if not shown and not text:
        return Drawn("", "", Fate.EMPTY)
    if selfies_text is None:
        return Drawn(shown, smiles, Fate.EXACT if smiles else Fate.REFUSED, detail)
    try:
        written = selfies.decoder(selfies_text)
    except (selfies.DecoderError, RecursionError):
        return Drawn(shown, smiles, Fate.UNDECODABLE)
    if not smiles:
        smiles, detail = _canonical(written)
        if not smiles:
            return Drawn(shown, "", Fate.REFUSED if written else Fate.UNDECODABLE, detail)
    try:
        exact = "".join(selfies_symbols(written)) == selfies_text
    except ENCODER_ERRORS:
        exact = False
    return Drawn(shown, smiles, Fate.EXACT if exact else Fate.REWRITTEN)


def _canonical(smiles: str) -> tuple[str, str]:
    """Canonical SMILES, or empty and the reason."""
    if not smiles:
        return "", ""
    found = standardize(smiles, ANY_LENGTH)
    if isinstance(found, Molecule):
        return found.smiles, ""
    return "", found.reason.value


def occurrences(smiles: Sequence[str]) -> Counter[str]:
    """How often each canonical SMILES is there."""
    return Counter(smiles)


def lacks_stereo(smiles: Sequence[str], others: Sequence[str]) -> bool:
    """Whether no molecule has a mark of stereo, though by the share of others five should at the least.

    Args:
        smiles: canonical.
        others: likewise.
    """

    def marked(texts: Sequence[str]) -> int:
        return sum(any(mark in text for mark in "@/\\") for text in texts)

    return not marked(smiles) and marked(others) * len(smiles) >= 5 * len(others) > 0
