"""From atomic energies to energies, forces and stress: what every interatomic potential shares."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from chemscale.models.atom_graph import AtomGraph, Connectivity, slots_of
from chemscale.models.geometry import (
    edge_vectors,
    forces_of_edges,
    forces_of_pairs,
    pair_vectors,
    virial,
)
from chemscale.models.layers.segments import offsets_of, segment_sum

log = logging.getLogger(__name__)


class UnknownElementError(ValueError):
    """A structure holds an element that the potential was not made for."""


class UnknownChargeError(ValueError):
    """A structure has a charge or multiplicity that a potential without either was not trained on."""


class EdgeOrderError(ValueError):
    """The edges of a batch are not in the order that sums over neighbours are taken in."""


class BoundaryError(ValueError):
    """A crystal, for a potential with an interaction that is that of molecules in vacuum."""


@dataclass
class Prediction:
    """What a potential predicts for B structures of N atoms in all, float64.

    Args:
        energy: (B,) eV.
        atomic_energies: (N,) eV, reference energies included.
        forces: (N, 3) eV/Å; None if not asked for.
        stress: (B, 3, 3) eV/Å³, positive when the crystal is under tension; NaN for a molecule among
            crystals; None if not asked for.
        edge_forces: (E, 3) eV/Å, -∂E/∂(r_sender - r_receiver): the force of each edge on its sender, and with
            the other sign on its receiver, in the network's precision; None if neither forces nor stress
            were asked for. Electrostatics between all pairs is not among it.
    """

    energy: Tensor
    atomic_energies: Tensor
    forces: Tensor | None = None
    stress: Tensor | None = None
    edge_forces: Tensor | None = None


def _per_volume(virial: Tensor, cell: Tensor) -> Tensor:
    """Virials over the volume of their cells, (B, 3, 3); NaN where there is none, with gradients of 0."""
    volume = torch.linalg.det(cell.to(torch.float64)).abs()[:, None, None]
    has_cell = volume > 0
    stress = virial / torch.where(has_cell, volume, torch.ones_like(volume))
    return torch.where(has_cell, stress, torch.full_like(stress, torch.nan))


def largest_of(data: Data) -> int:
    """Atoms of the largest structure of a batch; read from the device only if the batch does not say."""
    largest = data.get("largest")
    return int((data.ptr[1:] - data.ptr[:-1]).max()) if largest is None else largest


def check_edges(data: Data) -> None:
    """Refuse edges in another order than sums over neighbours are taken in; reads from the device.

    Args:
        data: a batch, as ``Potential.forward`` takes it.

    Raises:
        EdgeOrderError: edges are not by receiver, or ``sender_order`` is not their order by sender.
    """
    senders, receivers = data.edge_index
    order = data.get("sender_order")
    right = _rises(receivers)
    if right and order is not None:
        right = order.shape == senders.shape and _rises(senders.index_select(0, order))
    if not right:
        raise EdgeOrderError(
            "The edges of a batch must be in the order of their receivers, and sender_order, where it is "
            "given, their order by sender: sums over neighbours would be wrong. Make batches with "
            "chemscale.structures.graphs.collate, or sort edge_index and edge_shift by edge_index[1], and "
            "leave sender_order, halves, pair_of and both out."
        )


def _rises(index: Tensor) -> bool:
    return bool((index[1:] >= index[:-1]).all())


def describe_electrons(charge: int, spin: int) -> str:
    """A charge in e and a multiplicity, 0 where it is not stated, in words."""
    stated = f"charge {charge:+d}" if charge else "charge 0"
    return f"{stated} and multiplicity {spin}" if spin else stated


class Potential(nn.Module):
    """Interatomic potential: E = Σ_i (scale·ε_i + E_ref[Z_i]) and F = -∂E/∂r, with ε_i from a network.

    The energy is differentiated with respect to edge vectors, of which forces and stress are sums
    (``models.geometry``). Differences of positions, the sum over atoms and the reference energies are
    float64 whatever the precision of the network: total energies of molecules are 10⁴ eV and are wanted to
    10⁻³.

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
        self._said: set[str] = set()
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

    @property
    def couples_all_atoms(self) -> bool:
        """Whether the network couples all atoms of a structure, however far, in padded slots."""
        return self.molecules_only or getattr(self.network.config, "couples_all_atoms", False)

    @property
    def molecules_only(self) -> bool:
        """Whether the network reads vectors between all atoms, which a periodic cell makes wrong."""
        return getattr(self.network.config, "molecules_only", False)

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
            BoundaryError: a crystal, where there are interactions of molecules alone.
            EdgeOrderError: as ``connectivity``.
            ValueError: stress of a structure without a cell.
        """
        create_graph = self.training if create_graph is None else create_graph
        self._check_boundary(data)
        if stress and data.get("cell") is None:
            raise ValueError("Stress needs a cell: this structure is a molecule.")
        connectivity = self.connectivity(data)
        vectors, pairs = self.vectors(data, data.pos.detach())
        if not (forces or stress):
            atomic = self.energies_of(connectivity, vectors, pairs)
            return Prediction(segment_sum(atomic, connectivity.structures), atomic)
        with torch.enable_grad():
            leaves = [leaf.requires_grad_() for leaf in (vectors, pairs) if leaf is not None]
            atomic = self.energies_of(connectivity, vectors, pairs)
            energy = segment_sum(atomic, connectivity.structures)
            gradients = self._gradients(energy.sum(), leaves, create_graph)
            if not create_graph:
                energy, atomic = energy.detach(), atomic.detach()
            result = Prediction(energy, atomic, edge_forces=-gradients[0])
            if forces:
                result.forces = self._forces(connectivity, gradients)
            if stress:
                strained = virial(vectors.detach().double(), gradients[0].double(), connectivity)
                result.stress = _per_volume(strained, data.cell)
        return result

    def connectivity(self, data: Data) -> Connectivity:
        """The network's view of a batch without its geometry.

        Args:
            data: a batch, as ``forward`` takes it.

        Raises:
            EdgeOrderError: edges that are not in the order of their receivers, of a batch that ``collate``
                did not make (it has no ``sender_order``); what it made is taken as it is, since looking
                would make a GPU wait.
        """
        atoms, (senders, receivers) = data.z.shape[0], data.edge_index
        order = data.get("sender_order")
        if order is None:
            check_edges(data)
            order = torch.argsort(senders, stable=True)
        return Connectivity(
            numbers=data.z,
            types=self.type_of.index_select(0, data.z),
            senders=senders,
            receivers=receivers,
            batch=data.batch,
            ptr=data.ptr,
            charge=data.charge.to(self.dtype),
            spin=(data.spin - 1).clamp(min=0).to(self.dtype),
            receiver_offsets=offsets_of(receivers, atoms),
            sender_order=order,
            sender_offsets=offsets_of(senders, atoms, order),
            slots=slots_of(data.ptr, atoms, largest_of(data)) if self.couples_all_atoms else None,
            halves=data.get("halves"),
            pair_of=data.get("pair_of"),
            both=data.get("both"),
            half_offsets=data.get("half_offsets"),
        )

    def vectors(
        self, data: Data, pos: Tensor | None = None, strain: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """What the energy is a function of: vectors of edges and, if the network reads them, of all pairs.

        Differences are taken in float64 and rounded to the network's precision at the very end.

        Args:
            data: a batch, as ``forward`` takes it.
            pos: (N, 3) Å in the place of the batch's, for derivatives with respect to positions.
            strain: (B, 3, 3) that deforms each structure.

        Returns:
            (E, 3) Å, and (B, n, n, 3) Å or None.
        """
        vectors = edge_vectors(data, pos, strain).to(self.dtype)
        if not self.molecules_only:
            return vectors, None
        return vectors, pair_vectors(data, largest_of(data), pos).to(self.dtype)

    def energies_of(
        self,
        connectivity: Connectivity,
        vectors: Tensor,
        pairs: Tensor | None = None,
        parameters: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Energies of atoms in eV, reference energies included, as a function of tensors alone: (N,) float64.

        Forces and stress are linear in its derivatives (``models.geometry``), so this is what is traced.

        Args:
            connectivity: the atoms and their edges.
            vectors: (E, 3) Å of the edges, in the network's precision.
            pairs: (B, n, n, 3) Å of all pairs; None where the network does not read them.
            parameters: parameters and buffers of the network by their names in it, in the place of its own.
        """
        # Torch's FLOP counter puts hooks on what a module is given, and cannot put them on a leaf.
        graph = AtomGraph.of(connectivity, vectors.view_as(vectors), pairs)
        if parameters is None:
            output = self.network(graph)
        else:
            output = torch.func.functional_call(self.network, parameters, (graph,))
        scaled, unscaled = output if isinstance(output, tuple) else (output, None)
        energies = scaled.to(torch.float64) * self.scale + self.references.index_select(0, connectivity.types)
        return energies if unscaled is None else energies + unscaled.to(torch.float64)

    @staticmethod
    def _forces(connectivity: Connectivity, gradients: tuple[Tensor, ...]) -> Tensor:
        forces = forces_of_edges(gradients[0].to(torch.float64), connectivity)
        for of_pairs in gradients[1:]:
            forces = forces + forces_of_pairs(of_pairs.to(torch.float64), connectivity)
        return forces

    def check(self, data: Data) -> None:
        """Refuse structures that the potential can say nothing of, and warn once of those that it guesses.

        Args:
            data: a batch, as ``forward`` takes it.

        Raises:
            UnknownElementError: an element without weights.
            UnknownChargeError: as ``check_electrons``.
            BoundaryError: a crystal, where there are interactions of molecules alone.
            EdgeOrderError: edges in another order than a batch must have them.
        """
        check_edges(data)
        self.check_elements(data.z)
        self._check_boundary(data)
        for charge, spin in sorted(set(zip(data.charge.tolist(), data.spin.tolist(), strict=True))):
            self.check_electrons(charge, spin)

    def check_electrons(self, charge: int, spin: int) -> None:
        """Compare a charge and a multiplicity with those of the training frames, as ``header`` has them.

        A multiplicity that is not stated, 0, goes with any; 1 and 2 go with frames that do not state theirs.

        Args:
            charge: total, in e.
            spin: multiplicity 2S+1, 0 where it is not stated.

        Raises:
            UnknownChargeError: training lacked it, and the network knows neither charge nor multiplicity.
        """
        known = self.header.get("data", {}).get("electrons")
        knows = getattr(self.network.config, "knows_charge", False)
        asked = describe_electrons(charge, spin)
        if known is None:  # a model in memory, or of version 0.1.0
            if self.header.get("data") and charge and not knows:
                self._say_once(
                    f"This model knows no charge, nor does it say which ones it was trained on: {asked} gets "
                    "the energy of the same atoms with the charge of the training data."
                )
            return
        if any(charge == q and (spin in (0, s) or (s == 0 and spin <= 2)) for q, s in known):
            return
        states = "; ".join(describe_electrons(q, s) for q, s in known)
        if knows:
            self._say_once(f"A structure has {asked}, the training data had {states}: it is extrapolated.")
            return
        raise UnknownChargeError(
            f"A structure has {asked}, but the training data had {states}, and "
            f"{self.header['model']['family']} knows neither charge nor multiplicity: it would give the "
            "energy of another state. Train model=spookynet on data of several states."
        )

    def _check_boundary(self, data: Data) -> None:
        if data.get("cell") is not None and self.molecules_only:
            raise BoundaryError(
                "A structure is periodic, and the model is for molecules in vacuum "
                "(model.electrostatics=true or model.edges=own): the energy would depend on how atoms lie in "
                "the cell. Set pbc to False for a molecule; for crystals train with "
                "model.electrostatics=false or model.edges=ours."
            )

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning(text)

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
