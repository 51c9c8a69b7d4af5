"""Which conditions a corpus is to have."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from chemscale.molecules.descriptors import DESCRIPTORS
from chemscale.molecules.tokenizers.conditioned import SCAFFOLD, ConditionedTokenizer, check_names
from chemscale.molecules.tokenizers.opening import AnyTokenizer


class ConditionValueError(ValueError):
    """Values that cannot be conditions, or conditions that a tokenizer does not have."""


@dataclass(frozen=True)
class ConditionRequest:
    """Conditions that a corpus is to have.

    Args:
        names: of descriptors, of columns, or "scaffold".
        bins: quantiles that values are put into, at most.

    Raises:
        TokenizerError: a name that cannot be one.
    """

    names: tuple[str, ...]
    bins: int = 10

    def __post_init__(self) -> None:
        check_names(self.names)

    @property
    def values(self) -> tuple[str, ...]:
        """Names of those that are numbers."""
        return tuple(name for name in self.names if name != SCAFFOLD)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of those that only the user's files know."""
        return tuple(name for name in self.values if name not in DESCRIPTORS)

    @property
    def scaffold(self) -> bool:
        """Whether the scaffold is one."""
        return SCAFFOLD in self.names

    def to_dict(self) -> dict[str, Any]:
        """As the manifest has it."""
        return asdict(self)


def request_conditions(
    names: tuple[str, ...] | None, bins: int, tokenizer: AnyTokenizer | None
) -> ConditionRequest | None:
    """What a corpus is to have: what is named, or else what a given tokenizer has; None for nothing.

    Args:
        names: as the user named them.
        bins: at most.
        tokenizer: a vocabulary that is kept to; one with conditions has its own bins.

    Raises:
        TokenizerError: a name that cannot be one.
        ConditionValueError: the tokenizer has other conditions.
    """
    given = tokenizer.conditions.names if isinstance(tokenizer, ConditionedTokenizer) else ()
    if not (names or given):
        return None
    request = ConditionRequest(tuple(names or given), bins)
    check_tokenizer(request, tokenizer)
    return request


def check_tokenizer(request: ConditionRequest | None, tokenizer: AnyTokenizer | None) -> None:
    """Refuse a given tokenizer that has other conditions than are asked for.

    Args:
        request: what is asked for.
        tokenizer: the given one; one without conditions gets those that are asked for.

    Raises:
        ConditionValueError: they differ.
    """
    if not isinstance(tokenizer, ConditionedTokenizer):
        return
    asked, has = set(request.names if request else ()), tokenizer.conditions.names
    if asked != set(has):
        raise ConditionValueError(
            f"data.condition=[{','.join(sorted(asked))}]: the given tokenizer has the conditions "
            f"[{','.join(has)}], with its own bins. Ask for the same ones, or leave data.condition out."
        )
