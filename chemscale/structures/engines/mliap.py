"""The object that LAMMPS' ``pair_style mliap unified`` calls: its pairs in, per-edge forces out.

LAMMPS hands over pairs (i, j) with i an atom of this process and j one of it or a ghost, and r_j - r_i. A
message passing network needs the features of j as of any atom. On one process every ghost is an image of an
own atom and has its number, so that each pair becomes an edge between own atoms with LAMMPS' own vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor
from torch_geometric.data import Data

from chemscale.models.potential import Potential
from chemscale.structures.engines.evaluator import Evaluator


class UnifiedPotential:
    """A potential as ML-IAP's unified interface knows it (the attributes are LAMMPS' names).

    Args:
        evaluator: the potential with its charge and multiplicity.
        elements: symbols that ``pair_coeff * *`` may name.
        tags: gives the (m,) numbers of the first m own and ghost atoms.

    Raises:
        ValueError: a network that reads vectors between all atoms, which LAMMPS' pairs are not.
        UnknownElementError: an element that the potential was not made for.
    """

    interface: Any = None
    ndescriptors = 1
    nparams = 1

    def __init__(self, evaluator: Evaluator, elements: Sequence[str], tags: Callable[[int], np.ndarray]):
        potential = evaluator.potential
        if potential.molecules_only:
            raise ValueError(
                "ML-IAP hands over pairs within the cutoff, and this potential has electrostatics between "
                "all atoms of a molecule: attach it with through='external'."
            )
        self._numbers = np.array([atomic_numbers[symbol] for symbol in elements])
        evaluator.check_elements(self._numbers)
        self._evaluator, self._tags = evaluator, tags
        self.element_types = list(elements)
        self.rcutfac = potential.cutoff / 2  # LAMMPS takes twice the product with a radius, which is 1

    def compute_descriptors(self, data: Any) -> None:
        """Nothing: energies and forces come together."""

    def compute_gradients(self, data: Any) -> None:
        """Nothing: energies and forces come together."""

    def compute_forces(self, data: Any) -> None:
        """Fill energies of atoms and add the forces of pairs; LAMMPS makes the virial of the latter.

        Args:
            data: LAMMPS' ``MLIAPDataPy``: ``nlocal``, ``ntotal``, ``nlistatoms``, ``npairs``, ``elems``,
                ``pair_i``, ``pair_j``, ``rij``.

        Raises:
            ValueError: atoms that the pair style leaves out, ghosts of another process.
        """
        atoms, pairs = data.nlocal, data.npairs
        if data.nlistatoms != atoms:
            raise ValueError(
                f"The potential gets {data.nlistatoms} of {atoms} atoms. It needs all of them: name an "
                "element for every atom type in pair_coeff, and do not combine it with pair_style hybrid."
            )
        receivers = data.pair_i.astype(np.int64) if pairs else np.zeros(0, np.int64)
        senders = self._own(data) if pairs else np.zeros(0, np.int64)
        order = np.argsort(receivers, kind="stable")
        batch = self._batch(data.elems[:atoms], senders[order], receivers[order])
        vectors = torch.from_numpy(data.rij[order] if pairs else np.zeros((0, 3)))
        energies, gradients = energies_and_gradients(
            self._evaluator.potential, batch, vectors.to(self._evaluator.device)
        )
        data.eatoms = energies.cpu().numpy()
        data.energy = float(energies.sum())
        if pairs:
            on_receivers = np.empty((pairs, 3))
            on_receivers[order] = gradients.double().cpu().numpy()
            data.update_pair_forces(on_receivers)

    def _own(self, data: Any) -> np.ndarray:
        """(P,) the own atom that each neighbour is, or is an image of."""
        tags = self._tags(data.ntotal)
        own = np.full(int(tags.max()) + 1, -1, dtype=np.int64)
        own[tags[: data.nlocal]] = np.arange(data.nlocal)
        senders = own[tags[data.pair_j]]
        if (senders < 0).any():
            raise ValueError(
                "A neighbour belongs to another process: start LAMMPS on one process, since features of "
                "atoms are not exchanged between processes."
            )
        return senders

    def _batch(self, elements: np.ndarray, senders: np.ndarray, receivers: np.ndarray) -> Data:
        atoms = len(elements)
        return Data(
            z=torch.from_numpy(self._numbers[elements]),
            edge_index=torch.from_numpy(np.stack([senders, receivers])),
            batch=torch.zeros(atoms, dtype=torch.int64),
            ptr=torch.tensor([0, atoms]),
            charge=torch.tensor([self._evaluator.charge]),
            spin=torch.tensor([self._evaluator.spin]),
            largest=atoms,
        ).to(self._evaluator.device)


def energies_and_gradients(potential: Potential, data: Data, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Energies of atoms, and the derivative of their sum by given vectors of edges.

    Args:
        potential: whose network reads vectors of edges alone.
        data: ``z`` (n,), ``edge_index`` (2, E) as [sender, receiver] by receiver, ``batch``, ``ptr``,
            ``charge`` and ``spin`` of one structure; no positions.
        vectors: (E, 3) Å, r_sender - r_receiver.

    Returns:
        (n,) eV float64, and (E, 3) eV/Å in the network's precision: the force of each edge on its receiver.
    """
    connectivity = potential.connectivity(data)
    with torch.enable_grad():
        leaf = vectors.to(potential.dtype).requires_grad_()
        energies = potential.energies_of(connectivity, leaf)
        if not energies.requires_grad:
            return energies, torch.zeros_like(leaf)
        (gradients,) = torch.autograd.grad(energies.sum(), [leaf], allow_unused=True)
    return energies.detach(), torch.zeros_like(leaf) if gradients is None else gradients
