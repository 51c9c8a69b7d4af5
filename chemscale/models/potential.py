"""From atomic energies to energies, forces and stress: what every interatomic potential shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from chemscale.models.atom_graph import AtomGraph, sum_by


class UnknownElementError(ValueError):
    """A structure holds an element that the potential was not made for."""


@dataclass
class Prediction:
    """What a potential predicts for B structures of N atoms in all, float64.

    Args:
        energy: (B,) eV.
        atomic_energies: (N,) eV, reference energies included.
        forces: (N, 3) eV/Å; None if not asked for.
        stress: (B, 3, 3) eV/Å³, positive when the crystal is under tension; None if not asked for.
    """

    energy: Tensor
    atomic_energies: Tensor
    forces: Tensor | None = None
    stress: Tensor | None = None


class Potential(nn.Module):
    """Interatomic potential: E = Σ_i (scale·ε_i + E_ref[Z_i]) and F = -∂E/∂r, with ε_i from a network.

    Edge vectors, the sum over atoms and the reference energies are float64 whatever the precision of the
    network: total energies of molecules are 10⁴ eV and are wanted to 10⁻³.

    Args:
        network: maps an ``AtomGraph`` to (N,) energies in units of `scale`, or to those and (N,) more in eV.
        elements: atomic numbers that the network knows, ascending.
        references: eV of an atom of each of the elements.
        scale: eV; the root mean square force of the training set is customary.
    """

    references: Tensor
    scale: Tensor
    type_of: Tensor

    def __init__(
        self, network: nn.Module, elements: tuple[int, ...], references: tuple[float, ...], scale: float = 1.0
    ):
        super().__init__()
        self.network, self.elements = network, tuple(elements)
        self.header: dict[str, Any] = {}
        """What is needed to build it again, beside its tensors."""
        self.register_buffer("references", torch.tensor(references, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        type_of = torch.full((119,), -1, dtype=torch.int64)
        type_of[list(elements)] = torch.arange(len(elements))
        self.register_buffer("type_of", type_of, persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the network."""
        return next(self.network.parameters()).dtype

    @property
    def cutoff(self) -> float:
        """Å within which atoms are neighbours."""
        return float(self.network.config.cutoff)  # type: ignore[union-attr,arg-type]

    def forward(
        self, data: Data, *, forces: bool = True, stress: bool = False, create_graph: bool | None = None
    ) -> Prediction:
        """Predict energies, and forces and stress as their derivatives.

        Args:
            data: ``z`` (N,), ``pos`` (N, 3) Å, ``edge_index`` (2, E) as [sender, receiver] by receiver,
                ``batch`` (N,), ``ptr`` (B + 1,), ``charge`` (B,) and ``spin`` (B,) (multiplicity, 0 unknown);
                for crystals ``cell`` (B, 3, 3) with rows as vectors in Å, and ``edge_shift`` (E, 3) in cells.
            forces: whether forces are wanted.
            stress: whether the stress of crystals is wanted.
            create_graph: whether forces can be differentiated again; as the module's training mode if None.

        Raises:
            UnknownElementError: an element that the potential was not made for.
            ValueError: stress of a structure without a cell.
        """
        create_graph = self.training if create_graph is None else create_graph
        with torch.set_grad_enabled(torch.is_grad_enabled() or forces or stress):
            pos = data.pos.to(torch.float64)
            if forces:
                pos = pos.detach().requires_grad_()
            strain = pos.new_zeros(data.ptr.shape[0] - 1, 3, 3).requires_grad_() if stress else None
            graph = self.graph(data, pos, strain)
            atomic = self.atomic_energies(graph)
            energy = sum_by(atomic, graph.batch, graph.structures)
            wanted = [leaf for leaf, use in ((pos, forces), (strain, stress)) if use and leaf is not None]
            if not wanted:
                return Prediction(energy, atomic)
            gradients = list(self._gradients(energy.sum(), wanted, create_graph))
        result = Prediction(
            energy if create_graph else energy.detach(), atomic if create_graph else atomic.detach()
        )
        if forces:
            result.forces = -gradients.pop(0)
        if stress:
            volume = torch.linalg.det(data.cell.to(torch.float64)).abs()
            result.stress = gradients.pop(0) / volume[:, None, None]
        return result

    def graph(self, data: Data, pos: Tensor, strain: Tensor | None = None) -> AtomGraph:
        """The network's view of a batch, vectors rounded to its precision at the very end.

        Args:
            data: a batch, as ``forward`` takes it.
            pos: (N, 3) Å, float64.
            strain: (B, 3, 3) that deforms each structure, for the stress.

        Raises:
            ValueError: a strain of structures without a cell.
        """
        types = self.type_of[data.z]
        senders, receivers = data.edge_index[0], data.edge_index[1]
        if strain is not None:
            if data.get("cell") is None:
                raise ValueError("Stress needs a cell: this structure is a molecule.")
            symmetric = 0.5 * (strain + strain.transpose(1, 2))
            pos = pos + torch.einsum("ni,nij->nj", pos, symmetric[data.batch])
        vectors = pos.index_select(0, senders) - pos.index_select(0, receivers)
        if data.get("cell") is not None:
            cell = data.cell.to(pos.dtype)
            if strain is not None:
                cell = cell + cell @ symmetric
            shift = data.edge_shift.to(pos.dtype)
            vectors = vectors + torch.einsum("ei,eij->ej", shift, cell[data.batch[receivers]])
        distances = torch.linalg.vector_norm(vectors, dim=1)
        return AtomGraph(
            numbers=data.z,
            types=types,
            vectors=vectors.to(self.dtype),
            distances=distances.to(self.dtype),
            senders=senders,
            receivers=receivers,
            batch=data.batch,
            ptr=data.ptr,
            charge=data.charge.to(self.dtype),
            spin=(data.spin - 1).clamp(min=0).to(self.dtype),
            positions=pos,
        )

    def atomic_energies(self, graph: AtomGraph) -> Tensor:
        """Energies of atoms in eV, reference energies included: (N,) float64."""
        output = self.network(graph)
        scaled, unscaled = output if isinstance(output, tuple) else (output, None)
        energies = scaled.to(torch.float64) * self.scale + self.references[graph.types]
        return energies if unscaled is None else energies + unscaled.to(torch.float64)

    def check_elements(self, numbers: Tensor) -> None:
        """Refuse structures with elements that the network has no weights for.

        Args:
            numbers: (N,) atomic numbers.

        Raises:
            UnknownElementError: naming them.
        """
        unknown = sorted({int(z) for z in numbers.unique()} - set(self.elements))
        if unknown:
            raise UnknownElementError(
                f"Elements Z = {unknown} are not known to this potential; it knows Z = {list(self.elements)}."
            )

    @staticmethod
    def _gradients(energy: Tensor, leaves: list[Tensor], create_graph: bool) -> tuple[Tensor, ...]:
        # A batch of isolated atoms has no edges: its energy does not depend on positions at all.
        if not energy.requires_grad:
            return tuple(torch.zeros_like(leaf) for leaf in leaves)
        found = torch.autograd.grad(energy, leaves, create_graph=create_graph, allow_unused=True)
        return tuple(
            torch.zeros_like(leaf) if gradient is None else gradient
            for leaf, gradient in zip(leaves, found, strict=True)
        )
