"""Several trained potentials as one: the mean of their predictions and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from chemscale.models.potential import Potential
from chemscale.structures.uncertainty.prediction import UncertainPrediction


class CommitteeError(ValueError):
    """Models that do not make a committee; the message names what they differ in."""


class Committee(nn.Module):
    """Potentials that learned the same data from different starts.

    The prediction is the mean over M members, its standard deviation that of the sample, with M - 1 below the
    sum of squares: each estimates the same unknown energy. Forces and stress are means of derivatives, so
    derivatives of the mean: a committee conserves energy. Structures are prepared once, their neighbours are
    found once, and members are asked in turn: their sums over neighbours are operations of a library that
    ``torch.func.vmap`` cannot stack, and on a batch they fill the processor one at a time.

    H. S. Seung, M. Opper and H. Sompolinsky, Query by committee, COLT 1992; L. Zhang et al., Active learning
    of uniformly accurate interatomic potentials, Phys. Rev. Materials 3, 023804 (2019).

    Args:
        members: two or more, in evaluation mode.
        names: of each, for messages; numbers if None.
        energy_factor: deviations of energies are multiplied by it (``uncertainty.calibration``).
        forces_factor: likewise of forces and stress.

    Raises:
        CommitteeError: fewer than two, one twice, or members of other elements, cutoffs, precisions, levels
            of theory, or dispersion that was subtracted from their labels.
    """

    def __init__(
        self,
        members: Sequence[Potential],
        names: Sequence[str] | None = None,
        *,
        energy_factor: float = 1.0,
        forces_factor: float = 1.0,
    ):
        super().__init__()
        names = list(names or (f"member {n}" for n in range(len(members))))
        if len(members) < 2:
            raise CommitteeError(
                f"A committee has two members or more, got {len(members)}: train more seeds."
            )
        self.members = nn.ModuleList(members)
        self.energy_factor, self.forces_factor = energy_factor, forces_factor
        for name, member in zip(names[1:], members[1:], strict=True):
            _check_alike(names[0], members[0], name, member)

    @property
    def first(self) -> Potential:
        """The first member: what all have in common can be asked of it."""
        return self.members[0]  # type: ignore[return-value]

    @property
    def header(self) -> dict[str, Any]:
        """What the first member says of itself and of its training data."""
        return self.first.header

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that all members know, ascending."""
        return self.first.elements

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the networks."""
        return self.first.dtype

    @property
    def cutoff(self) -> float:
        """Å within which atoms are neighbours."""
        return self.first.cutoff

    def check(self, data: Data) -> None:
        """Refuse structures that a member can say nothing of, as ``Potential.check``."""
        for member in self.members:
            member.check(data)  # type: ignore[operator]

    def forward(
        self,
        data: Data,
        *,
        forces: bool = True,
        stress: bool = False,
        create_graph: bool | None = None,
        deviations: bool = True,
    ) -> UncertainPrediction:
        """The mean prediction and its standard deviations.

        Args:
            data: a batch, as ``Potential.forward`` takes it.
            forces: whether forces are wanted.
            stress: whether the stress of crystals is wanted.
            create_graph: whether forces can be differentiated again.
            deviations: only kept alike with ``LastLayer``: a committee's cost nothing.

        Raises:
            BoundaryError: as ``Potential.forward``.
            ValueError: likewise.
        """
        found = [
            member(data, forces=forces, stress=stress, create_graph=create_graph) for member in self.members
        ]

        def of(key: str) -> Tensor | None:
            values = [getattr(each, key) for each in found]
            return None if values[0] is None else torch.stack(values)

        mean = {
            key: None if (values := of(key)) is None else values.mean(0)
            for key in ("energy", "atomic_energies", "forces", "stress", "edge_forces")
        }
        spread = {
            f"{key}_std": None if (values := of(key)) is None else values.std(0, correction=1)
            for key in ("energy", "forces", "stress")
        }
        result = UncertainPrediction(**mean, **spread)  # type: ignore[arg-type]
        return result.scaled(self.energy_factor, self.forces_factor)


def _check_alike(first_name: str, first: Potential, name: str, member: Potential) -> None:
    """Refuse a member that another one cannot be compared with.

    Raises:
        CommitteeError: naming what differs.
    """
    if member is first:
        raise CommitteeError(f"{name} is in the committee twice: it would always agree with itself.")
    levels, without = (
        [(m.header.get("data") or {}).get(key) for m in (first, member)] for key in ("level", "subtract")
    )
    for what, one, other in (
        ("elements", list(first.elements), list(member.elements)),
        ("cutoff", first.cutoff, member.cutoff),
        ("precision", first.dtype, member.dtype),
        ("level of theory", *levels),
        ("dispersion subtracted from its labels (data.subtract)", *without),
    ):
        if one != other:
            raise CommitteeError(
                f"{name} has {what} {other}, {first_name} has {one}: the members of a committee share it. "
                "Name runs that learned the same data and differ in their seed."
            )
