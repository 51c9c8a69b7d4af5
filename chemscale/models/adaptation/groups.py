"""Named groups of a model's parameters: what ``model.freeze`` and ``model.lora.also`` are written in."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from math import prod

import torch

BUT = re.compile(r"all[ -]but[ -]+(.+)")
SPAN = r"(\d+)(?:-(\d+))?"


class AdaptationError(ValueError):
    """A group that a model does not have, or an adaptation that cannot be; the message names the way out."""


class Groups(ABC):
    """The parameters of one model by name, and the groups that some of them are called by.

    Args:
        shapes: of the parameters that can be trained, by name.
        patterns: group → regular expression that the names of its parameters begin with.
        layers: number of layers.
        numbered: the group whose members are numbered, ``blocks`` or ``layers``: ``blocks:0-5``.
        prefix: what every name begins with, and no pattern.
        place: name of the list of layers, without the prefix; that of the group if None.
    """

    def __init__(
        self,
        shapes: Mapping[str, torch.Size],
        patterns: Mapping[str, str],
        layers: int,
        numbered: str,
        prefix: str = "",
        place: str | None = None,
    ):
        self.shapes, self.patterns, self.layers = dict(shapes), dict(patterns), layers
        self.numbered, self.prefix = numbered, prefix
        self.place = numbered if place is None else place

    @abstractmethod
    def adapted(self, targets: Sequence[str]) -> frozenset[str]:
        """Names of the matrices that adapters stand beside.

        Args:
            targets: as ``model.lora.targets`` lists them.

        Raises:
            AdaptationError: something that can have none.
        """

    def members(self, groups: Sequence[str], key: str) -> frozenset[str]:
        """Names of the parameters in any of some groups.

        Args:
            groups: names of groups, ``blocks:3``, ``blocks:0-5``, or ``all but GROUP and GROUP``.
            key: of the configuration that lists them, for messages.

        Raises:
            AdaptationError: a group that the model does not have.
        """
        found: set[str] = set()
        for group in groups:
            if but := BUT.fullmatch(group.strip()):
                kept = self.members(re.split(r"\s*,\s*|\s+and\s+", but[1].strip()), key)
                found |= set(self.shapes) - kept
            else:
                found |= self.of_group(group.strip(), key)
        return frozenset(found)

    def of_group(self, group: str, key: str) -> set[str]:
        """Names of the parameters of one group; arguments as ``members``."""
        if span := re.fullmatch(f"{self.numbered}:{SPAN}", group):
            first, last = int(span[1]), int(span[2] or span[1])
            if not first <= last < self.layers:
                raise AdaptationError(
                    f"{key}={group}: the {self.numbered} of the model are numbered 0 to {self.layers - 1}."
                )
            numbers = "|".join(map(str, range(first, last + 1)))
            if found := self.matching(rf"{re.escape(self.place)}\.({numbers})\."):
                return found
        found = self.matching(self.patterns[group]) if group in self.patterns else set()
        if not found:
            raise AdaptationError(
                f"{key}={group}: no group of parameters. There are {', '.join(self.names())}, "
                f"{self.numbered}:N, {self.numbered}:N-M and 'all but GROUP'."
            )
        return found

    def names(self) -> list[str]:
        """Names of the groups that have members."""
        return [group for group, pattern in self.patterns.items() if self.matching(pattern)]

    def matching(self, pattern: str) -> set[str]:
        """Names of the parameters that begin with a regular expression."""
        return {name for name in self.shapes if re.match(pattern, name.removeprefix(self.prefix))}

    def count(self, names: Iterable[str]) -> int:
        """Numbers in some parameters.

        Args:
            names: of the parameters.
        """
        return sum(self.shapes[name].numel() for name in names)

    def ranks(self, names: Iterable[str]) -> int:
        """Numbers of adapters of rank 1 beside some matrices: inputs + outputs of each.

        Args:
            names: of parameters whose last two dimensions are a matrix; of several each has an adapter.
        """
        return sum(prod(self.shapes[name][:-2]) * sum(self.shapes[name][-2:]) for name in names)
