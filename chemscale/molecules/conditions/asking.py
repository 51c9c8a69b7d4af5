"""Asking a model for molecules of given conditions: ``logP=2.5``, ``scaffold=c1ccccc1``."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chemscale.molecules.tokenizers.conditioned import SCAFFOLD, ConditionedTokenizer, ValueCondition
from chemscale.molecules.tokenizers.notation import TokenizerError, UnknownSymbolError

if TYPE_CHECKING:
    from chemscale.molecules.tokenizers.opening import AnyTokenizer

Value = float | str | None
"""What is asked of one condition; None, or "?", for anything."""


class ConditionError(ValueError):
    """A condition that cannot be asked for."""


def parse_conditions(texts: Iterable[str]) -> dict[str, Value]:
    """Conditions from a command line.

    Args:
        texts: each ``NAME=VALUE``.

    Raises:
        ConditionError: one without ``=``, or a name twice.
    """
    found: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ConditionError(f"--condition {text!r}: write NAME=VALUE, such as logP=2.5.")
        if name in found:
            raise ConditionError(f"--condition names {name} twice.")
        found[name] = value.strip()
    return found


def prefix_ids(tokenizer: AnyTokenizer, conditions: Mapping[str, Value]) -> list[int]:
    """Ids that stand between the begin symbol and a molecule of such conditions.

    Conditions that are not named count as unknown: with none named, any molecule is asked for. A model that
    was trained without conditions has no prefix: the list is empty.

    Args:
        tokenizer: of the model.
        conditions: value of each by name: a number, for ``scaffold`` a SMILES (its Bemis-Murcko scaffold is
            taken; empty for molecules without a ring), or None or "?" for anything.

    Raises:
        ConditionError: a name that the model was not trained with, a value that is no number, or a scaffold
            that has no ring or is outside the vocabulary.
    """
    if not isinstance(tokenizer, ConditionedTokenizer):
        if conditions:
            raise ConditionError(
                f"{', '.join(conditions)}: this model was trained without conditions, nothing can be "
                f"asked of it. Train one with data.condition=[{','.join(conditions)}]."
            )
        return []
    names = tokenizer.conditions.names
    for name in conditions:
        if name not in names:
            near = difflib.get_close_matches(name.lower(), [each.lower() for each in names], 1)
            meant = next((f" Did you mean {n}?" for n in names if n.lower() in near), "")
            raise ConditionError(
                f"{name}: this model was trained with conditions on {', '.join(names)}, not on {name}.{meant}"
            )
    ids = tokenizer.condition_ids
    found = [ids[_token(each, conditions.get(each.name))] for each in tokenizer.conditions.values]
    if tokenizer.conditions.scaffold:
        found += _scaffold_ids(tokenizer, conditions.get(SCAFFOLD))
    return found


def banned_ids(tokenizer: AnyTokenizer) -> list[int]:
    """Ids that are no symbol of molecules and no end, for a sampler to leave out besides padding and begin.

    Those are the unknown symbol, tokens of conditions, and word pieces of a published ChemGPT. Text of a
    molecule holds none of them, so that what was drawn could not be written and read again.

    Args:
        tokenizer: of the model.
    """
    symbols, ends = set(tokenizer.symbols), (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id)
    return [i for i in range(tokenizer.vocab_size) if i not in ends and tokenizer.token(i) not in symbols]


@dataclass(frozen=True)
class Opening:
    """How every molecule of a model begins where nothing is asked of it.

    Args:
        start: ids between the begin symbol and the molecule: each condition left open, of models that were
            trained with conditions; else none.
        banned: ids that are never drawn, besides padding and begin.
    """

    start: tuple[int, ...]
    banned: tuple[int, ...]


def open_prefix(tokenizer: AnyTokenizer) -> Opening:
    """What stands before a molecule of which nothing is asked, and what is never drawn.

    Whoever draws from a model, or tells the likelihood or the states of a molecule, begins here.

    Args:
        tokenizer: of the model.
    """
    return Opening(tuple(prefix_ids(tokenizer, {})), tuple(banned_ids(tokenizer)))


def describe_request(tokenizer: AnyTokenizer, conditions: Mapping[str, Value]) -> list[str]:
    """A line for each condition that is asked for: which bin it means, and whether training went so far.

    Args:
        tokenizer: of the model.
        conditions: as for ``prefix_ids``, which has taken them.
    """
    if not isinstance(tokenizer, ConditionedTokenizer):
        return []
    lines = []
    for about, value in asked_numbers(tokenizer, conditions):
        number = about.bin_of(value)
        low, high = about.limits(number)
        ends = f"{low:.4g} ≤ {about.name} {'≤' if number == about.bins - 1 else '<'} {high:.4g}"
        note = ""
        if not about.low <= value <= about.high:
            note = f"; no training molecule has {value:g}, this is the nearest"
        lines.append(f"{about.name}={value:g} asks for {ends} (bin {number + 1} of {about.bins}{note})")
    scaffold = asked_scaffold(tokenizer, conditions)
    if scaffold is not None:
        lines.append(f"scaffold={scaffold}" if scaffold else "scaffold= asks for molecules without a ring")
    return lines


def asked_numbers(
    tokenizer: ConditionedTokenizer, conditions: Mapping[str, Value]
) -> list[tuple[ValueCondition, float]]:
    """Conditions of which a number is asked, and the number.

    Args:
        tokenizer: of the model.
        conditions: as for ``prefix_ids``.

    Raises:
        ConditionError: a value that is no number.
    """
    numbers = [(each, _number(each, conditions.get(each.name))) for each in tokenizer.conditions.values]
    return [(about, number) for about, number in numbers if number is not None]


def asked_scaffold(tokenizer: ConditionedTokenizer, conditions: Mapping[str, Value]) -> str | None:
    """Canonical SMILES of the scaffold that is asked for, empty for molecules without a ring; None for any.

    Args:
        tokenizer: of the model.
        conditions: as for ``prefix_ids``.

    Raises:
        ConditionError: RDKit does not read it, or it has no ring.
    """
    value = conditions.get(SCAFFOLD)
    if not tokenizer.conditions.scaffold or value is None or value == "?":
        return None
    return _scaffold(str(value))


def _token(condition: ValueCondition, value: Value) -> str:
    number = _number(condition, value)
    return condition.tokens[0 if number is None else 1 + condition.bin_of(number)]


def _number(condition: ValueCondition, value: Value) -> float | None:
    if value is None or value == "?":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConditionError(f"{condition.name}={value}: give a number, or ? for any.")
    return number


def _scaffold_ids(tokenizer: ConditionedTokenizer, value: Value) -> list[int]:
    ids, smiles = tokenizer.condition_ids, asked_scaffold(tokenizer, {SCAFFOLD: value})
    if smiles is None:
        return [ids[f"<{SCAFFOLD}:?>"]]
    try:
        symbols = tokenizer.from_smiles(smiles) if smiles else []
    except UnknownSymbolError as error:
        raise ConditionError(
            f"scaffold={value}: {error.symbol} does not occur in molecules that this model was trained on."
        ) from None
    except TokenizerError as error:
        raise ConditionError(f"scaffold={value}: {error}") from None
    return [ids[f"<{SCAFFOLD}>"], *symbols, ids[f"</{SCAFFOLD}>"]]


def _scaffold(text: str) -> str:
    """Canonical scaffold of a SMILES as corpora have it; empty for an empty text.

    Raises:
        ConditionError: RDKit does not read it, or it has no ring.
    """
    # RDKit is for this alone: a model can be sampled without it.
    from rdkit import Chem, rdBase

    from chemscale.molecules.preparation.conditions.measuring import condition_scaffold

    if not text:
        return ""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(text)
    if molecule is None:
        raise ConditionError(f"scaffold={text}: RDKit does not read this SMILES.")
    found = condition_scaffold(molecule)
    if not found:
        raise ConditionError(
            f"scaffold={text}: it has no ring, so no scaffold. Give a SMILES with one; scaffold= (nothing) "
            "asks for molecules without a ring."
        )
    return found
