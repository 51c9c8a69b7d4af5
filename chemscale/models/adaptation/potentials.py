"""What can be chosen of a potential of any family: its groups and its linear maps; and new elements."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from chemscale.models.adaptation.groups import AdaptationError, Groups
from chemscale.models.layers.activations import ScaledMLP
from chemscale.models.layers.equivariant import ChannelMixing, ElementMixing
from chemscale.models.layers.radial import EdgeLinear
from chemscale.models.potential import Potential
from chemscale.models.potentials import build

PREFIX = "network."
OUTPUT = r"(readouts?|partial_charges)\."
GROUPS = {
    "embeddings": rf"(?!layers\.|basis\.|{OUTPUT})",
    "layers": r"layers\.",
    "radial": r"(basis|layers\.\d+\.(\w+\.)?(radial|filters?))\.",
    "readout": OUTPUT,
}
"""Group → the names of its parameters in a network. Embeddings are all that stands before the layers."""
ELEMENTS = "elements"
"""The group of all tensors that have numbers of their own for each element."""
MAPS = (ScaledMLP, ChannelMixing, ElementMixing, EdgeLinear)
"""Layers of our own whose parameters are matrices of (inputs, outputs): linear maps of scalars, or of the
channels of one irrep, so that what is added to them leaves the network equivariant."""


class PotentialGroups(Groups):
    """The parameters of a potential; adapters stand beside its linear maps.

    A family may have groups of its own, ``groups`` of its configuration's class (group → regular expression
    on the names of parameters within the network).

    Args:
        potential: whose parameters they are; it is only looked at.
    """

    def __init__(self, potential: Potential):
        network, config = potential.network, potential.network.config
        trainable = {name: p.shape for name, p in potential.named_parameters() if p.requires_grad}
        place = next(name for name, module in network.named_modules() if module is network.layers)
        patterns = GROUPS if place == "layers" else _patterns_around(network, place)
        own: dict[str, str] = getattr(config, "groups", {})
        super().__init__(trainable, {**patterns, **own}, int(config.layers), "layers", PREFIX, place)  # type: ignore[union-attr,arg-type]
        self.config, self.known = config, potential.elements
        self.neighbours = float(potential.header["neighbours"])
        self.maps = frozenset(
            f"{PREFIX}{owner}.{name}"
            for owner, module in network.named_modules()
            for name in _matrices(module)
        )
        self._elements: frozenset[str] | None = None

    @property
    def elements(self) -> frozenset[str]:
        """Names of the parameters that have numbers for each element: their shapes change with one more."""
        if self._elements is None:
            more = min(set(range(1, 119)) - set(self.known))
            with torch.random.fork_rng(devices=[]):
                larger = build(self.config, (*self.known, more), neighbours=self.neighbours)  # type: ignore[arg-type]
            shapes = {name: parameter.shape for name, parameter in larger.named_parameters()}
            self._elements = frozenset(name for name, s in self.shapes.items() if shapes.get(name) != s)
        return self._elements

    def of_group(self, group: str, key: str) -> set[str]:
        """Names of the parameters of one group; arguments as ``members``."""
        if group == ELEMENTS and self.elements:
            return set(self.elements)
        return super().of_group(group, key)

    def names(self) -> list[str]:
        """Names of the groups that have members."""
        return [*super().names(), *([ELEMENTS] if self.elements else [])]

    def adapted(self, targets: Sequence[str]) -> frozenset[str]:
        """Names of the matrices that adapters stand beside.

        Args:
            targets: groups, whose linear maps get one; none: all linear maps.

        Raises:
            AdaptationError: a group that there is not, or that has no linear map.
        """
        every = self.maps & set(self.shapes)
        chosen = every & self.members(targets, "model.lora.targets") if targets else every
        if not chosen:
            where = f"model.lora.targets={', '.join(targets)}" if targets else "model.lora.rank"
            raise AdaptationError(
                f"{where}: there is no linear map that an adapter could stand beside (torch's Linear, or "
                f"{', '.join(kind.__name__ for kind in MAPS)} of chemscale). Use model.freeze."
            )
        return chosen


def _patterns_around(network: nn.Module, place: str) -> dict[str, str]:
    """Groups of a network whose parts are not called as ours: its tables and its layers."""
    tables = [name for name, module in network.named_modules() if isinstance(module, nn.Embedding)]
    patterns = {"embeddings": rf"({'|'.join(map(re.escape, tables))})\."} if tables else {}
    return patterns | ({"layers": rf"{re.escape(place)}\."} if place else {})


def _matrices(module: nn.Module) -> list[str]:
    """Names of the parameters of a module, within it, that are matrices of a linear map."""
    if isinstance(module, nn.Linear):
        return ["weight"]
    if isinstance(module, MAPS):
        return [name for name, parameter in module.named_parameters() if parameter.dim() > 1]
    return []


def with_elements(potential: Potential, elements: Sequence[int]) -> Potential:
    """The same potential with more elements, whose numbers begin as the mean over those that there are.

    What it predicts for structures of its own elements stays as it is. Reference energies of new elements are
    0. A tensor grows where its first dimension counts elements, or ordered pairs of them; whatever else a
    network holds of elements it has to make of their atomic numbers.

    Args:
        potential: it stays as it is.
        elements: atomic numbers that it is to know, all of its own among them.

    Raises:
        AdaptationError: a tensor depends on the elements in another way.
    """
    every = tuple(sorted(elements))
    config = potential.network.config
    with torch.random.fork_rng(devices=[]):
        larger = build(
            config,  # type: ignore[arg-type]
            every,
            scale=float(potential.scale),
            neighbours=potential.header["neighbours"],
            dtype=potential.dtype,
        )
    rows = torch.tensor([every.index(z) for z in potential.elements])
    old, new = potential.state_dict(), larger.state_dict()
    with torch.no_grad():
        for name, tensor in new.items():
            if name != "references":
                tensor.copy_(_grown(name, old[name], tensor.shape, rows, len(every)))
        larger.references[rows] = potential.references
    return larger


def _grown(name: str, old: Tensor, shape: torch.Size, rows: Tensor, count: int) -> Tensor:
    """A tensor for `count` elements of one for those that are to stand at `rows`."""
    known = len(rows)
    if old.shape == shape:
        return old
    if old.shape[1:] == shape[1:] and (len(old), shape[0]) == (known, count):
        return _spread(old, rows, count)
    if old.shape[1:] == shape[1:] and (len(old), shape[0]) == (known**2, count**2):
        pairs = _spread(old.unflatten(0, (known, known)), rows, count)
        return _spread(pairs.transpose(0, 1), rows, count).transpose(0, 1).flatten(0, 1)
    raise AdaptationError(
        f"model.new_elements=add: {name} of {known} elements has the shape {tuple(old.shape)}, of {count} "
        f"{tuple(shape)}; only what has a row for each element, or each ordered pair of them, can grow. Use "
        "model.new_elements=refuse and a model that was trained on all elements."
    )


def _spread(old: Tensor, rows: Tensor, count: int) -> Tensor:
    """Rows at their new places, and the mean of them at the others."""
    spread = old.mean(0, keepdim=True).repeat(count, *[1] * (old.dim() - 1))
    spread[rows] = old
    return spread
