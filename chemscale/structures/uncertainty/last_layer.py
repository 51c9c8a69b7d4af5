"""Uncertainty of one trained potential from the features of its last layer (LLPR)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch_geometric.data import Data

from chemscale.common.files import atomic_path
from chemscale.models.atom_graph import Connectivity
from chemscale.models.geometry import forces_of_edges, forces_of_pairs, virial
from chemscale.models.potential import Potential
from chemscale.models.potentials import PotentialError
from chemscale.structures.uncertainty.features import Features, last_layer_features
from chemscale.structures.uncertainty.prediction import UncertainPrediction

FILE = "uncertainty.safetensors"
"""Beside a model: what its uncertainty is computed from."""
FORMAT = "chemscale-last-layer-1"
RIDGES = tuple(10.0**power for power in range(-10, 0))
"""Values of ς² that are tried, in units of the mean eigenvalue of FᵀF."""


class LastLayerError(PotentialError):
    """A file of uncertainties that does not belong to the model beside it, or cannot be read."""


@dataclass(frozen=True)
class Factors:
    """What the deviations of a model are computed from.

    Args:
        gram: (P, P) FᵀF of the features of all training frames, float64.
        ridge: ς², in units of the mean eigenvalue of `gram`.
        energy_factor: α of energies, fitted to held-out frames.
        forces_factor: α of forces.
        about: what else is kept of it: frames, hash of the data, calibrations.
    """

    gram: Tensor
    ridge: float
    energy_factor: float = 1.0
    forces_factor: float = 1.0
    about: dict[str, Any] = field(default_factory=dict)

    def whitening(self) -> Tensor:
        """A with (FᵀF + ς²I)⁻¹ = AAᵀ: a deviation is the norm of features times A, (P, P).

        Raises:
            LastLayerError: no training frame has features.
        """
        values, vectors = torch.linalg.eigh(self.gram)
        mean = float(values.mean())
        if not mean > 0:
            raise LastLayerError("The last layer is 0 on every training frame: nothing can be told from it.")
        return vectors * (values.clamp(min=0) + self.ridge * mean).rsqrt()


class LastLayer(nn.Module):
    """A potential, and how far its predictions may be off by what its last layer has seen.

    A network is linear in the weights of its last layer. With Gaussian weights around the trained ones (a
    Laplace approximation there), the energy of a structure with features f has the variance::

        σ² = α² fᵀ (FᵀF + ς²I)⁻¹ f

    F holds the features of all training frames, and α and ς² are fitted to held-out frames. A force, being
    -∂E/∂r, has the features -∂f/∂r and the same covariance. That takes a backward pass a feature (32 for
    PaiNN of width 64), so leave forces out where only energies matter.

    F. Bigi, S. Chong, M. Ceriotti and F. Grasselli, A prediction rigidity formalism for low-cost
    uncertainties in trained neural networks, Mach. Learn.: Sci. Technol. 5, 045018 (2024).

    Args:
        potential: trained.
        factors: of its training frames.
    """

    whitening: Tensor

    def __init__(self, potential: Potential, factors: Factors):
        super().__init__()
        self.potential, self.factors = potential, factors
        self.energy_factor, self.forces_factor = factors.energy_factor, factors.forces_factor
        self.register_buffer("whitening", factors.whitening(), persistent=False)

    @property
    def header(self) -> dict[str, Any]:
        """What the potential says of itself and of its training data."""
        return self.potential.header

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that the potential knows, ascending."""
        return self.potential.elements

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the network."""
        return self.potential.dtype

    @property
    def cutoff(self) -> float:
        """Å within which atoms are neighbours."""
        return self.potential.cutoff

    def check(self, data: Data) -> None:
        """Refuse structures that the potential can say nothing of, as ``Potential.check``."""
        self.potential.check(data)

    def forward(
        self,
        data: Data,
        *,
        forces: bool = True,
        stress: bool = False,
        create_graph: bool | None = None,
        deviations: bool = True,
    ) -> UncertainPrediction:
        """The prediction of the potential and its standard deviations.

        Args:
            data: a batch, as ``Potential.forward`` takes it.
            forces: whether forces are wanted.
            stress: whether the stress of crystals is wanted.
            create_graph: whether forces can be differentiated again; deviations cannot.
            deviations: whether those of forces and stress are wanted too, which cost a pass a feature.

        Raises:
            BoundaryError: as ``Potential.forward``.
            ValueError: likewise.
        """
        base = self.potential(data, forces=forces, stress=stress, create_graph=create_graph)
        derivatives = deviations and (forces or stress)
        found = last_layer_features(self.potential, data, differentiable=derivatives)
        with torch.enable_grad():
            white = found.of_structures @ self.whitening  # (B, P)
        result = UncertainPrediction(**vars(base), energy_std=torch.linalg.vector_norm(white.detach(), dim=1))
        if derivatives:
            self._add_derivatives(result, found, white, data, forces=forces, stress=stress)
        return result.scaled(self.energy_factor, self.forces_factor)

    def _add_derivatives(
        self,
        result: UncertainPrediction,
        found: Features,
        white: Tensor,
        data: Data,
        *,
        forces: bool,
        stress: bool,
    ) -> None:
        """Deviations of forces and stress: norms over features of their derivatives."""
        of_forces = torch.zeros_like(data.pos, dtype=torch.float64)
        of_stress = torch.zeros(white.shape[0], 3, 3, dtype=torch.float64, device=white.device)
        for column in white.unbind(1):
            gradients = _gradients(column, found.leaves)
            if forces:
                of_forces += _forces(found.connectivity, gradients) ** 2
            if stress:
                vectors = found.leaves[0].detach().double()
                of_stress += virial(vectors, gradients[0].double(), found.connectivity) ** 2
        if forces:
            result.forces_std = of_forces.sqrt()
        if stress:
            volume = torch.linalg.det(data.cell.to(torch.float64)).abs()
            volume = torch.where(volume > 0, volume, torch.nan)  # a molecule among crystals has none
            result.stress_std = of_stress.sqrt() / volume[:, None, None]


def _gradients(column: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    """Derivatives of a feature of all structures by edge vectors (and those of all pairs)."""
    if not column.requires_grad:  # lone atoms: their features do not depend on positions
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    return torch.autograd.grad(
        column.sum(), leaves, retain_graph=True, allow_unused=True, materialize_grads=True
    )


def _forces(connectivity: Connectivity, gradients: tuple[Tensor, ...]) -> Tensor:
    """Minus the derivatives by positions, up to the sign: (N, 3) float64."""
    total = forces_of_edges(gradients[0].double(), connectivity)
    for of_pairs in gradients[1:]:
        total = total + forces_of_pairs(of_pairs.double(), connectivity)
    return total


def gram_of(features: Sequence[Tensor]) -> Tensor:
    """FᵀF of features in pieces, (P, P) float64.

    Args:
        features: (B, P) each.
    """
    return sum(
        (f.double().T @ f.double() for f in features[1:]), features[0].double().T @ features[0].double()
    )


def choose_ridge(gram: Tensor, features: Tensor, errors: Tensor) -> float:
    """The ς² of `RIDGES` under which held-out errors are most likely, each with the α that suits it best.

    Args:
        gram: (P, P) of the training frames.
        features: (k, P) of held-out frames.
        errors: (k,) of their energies; NaN where there is no label.
    """
    known = torch.isfinite(errors)
    if not bool(known.any()):
        return RIDGES[len(RIDGES) // 2]
    features, errors = features[known].double(), errors[known].double()

    def cost(ridge: float) -> float:
        deviations = torch.linalg.vector_norm(features @ Factors(gram, ridge).whitening(), dim=1)
        mean = float(((errors / deviations) ** 2).mean())
        return 0.5 * math.log(mean) + float(deviations.log().mean()) if mean > 0 else -math.inf

    return min(RIDGES, key=cost)


def weights_sha256(potential: Potential) -> str:
    """Hash of the names, shapes and numbers of a potential's weights.

    Args:
        potential: with its weights.
    """
    found = hashlib.sha256()
    for name, tensor in sorted(potential.state_dict().items()):
        numbers = tensor.detach().double().cpu().contiguous().numpy()
        found.update(f"{name} {tuple(tensor.shape)}\n".encode())
        found.update(memoryview(numbers).cast("B") if numbers.size else b"")
    return found.hexdigest()


def save_factors(folder: Path, potential: Potential, factors: Factors) -> Path:
    """Write the factors beside a model, with the hash of its weights.

    Args:
        folder: of the model.
        potential: whose they are.
        factors: what is written.

    Returns:
        The file.
    """
    path = Path(folder) / FILE
    about = {"format": FORMAT, "weights_sha256": weights_sha256(potential), **factors.about}
    about |= {key: getattr(factors, key) for key in ("ridge", "energy_factor", "forces_factor")}
    with atomic_path(path) as partial:
        save_file({"gram": factors.gram.contiguous()}, partial, metadata={"about": json.dumps(about)})
    return path


def load_factors(folder: Path, potential: Potential) -> Factors | None:
    """The factors beside a model; None where there are none. Nothing is unpickled.

    Args:
        folder: of the model.
        potential: that lies there.

    Raises:
        LastLayerError: they are of other weights, or damaged.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            gram = file.get_tensor("gram")
        numbers = {key: float(about.pop(key)) for key in ("ridge", "energy_factor", "forces_factor")}
    except (SafetensorError, KeyError, ValueError) as error:
        raise LastLayerError(f"{path}: damaged ({error}). Delete it, it is made anew.") from None
    if about.pop("format", None) != FORMAT:
        raise LastLayerError(f"{path}: another format than {FORMAT}. Delete it, it is made anew.")
    if about.pop("weights_sha256", None) != weights_sha256(potential):
        raise LastLayerError(
            f"{path} was made for other weights than those in {folder}. Delete it, it is made anew from the "
            "training frames of the run."
        )
    return Factors(gram.double(), about=about, **numbers)
