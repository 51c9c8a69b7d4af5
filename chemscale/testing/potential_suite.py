"""The suite of tests that every potential passes: subclass it in a test module and give `config`.

class TestMyModel(PotentialSuite):
    config = MyConfig(width=8, layers=2)
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
import torch

from chemscale.models.potential import Potential
from chemscale.models.potentials import PotentialConfig, build
from chemscale.structures.graphs import Structure
from chemscale.testing import checks

ELEMENTS = (1, 6, 8)


class PotentialSuite:
    """Each test is one sentence of ``checks``, in float64 and in float32.

    Class attributes:
        config: the architecture's configuration, small.
        separable: the same with everything left out that acts beyond the cutoff.
        periodic: whether crystals are supported.
    """

    config: ClassVar[PotentialConfig]
    separable: ClassVar[PotentialConfig | None] = None
    periodic: ClassVar[bool] = True

    @pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
    def dtype(self, request: pytest.FixtureRequest) -> torch.dtype:
        """Precision of the network."""
        return request.param

    @pytest.fixture
    def potential(self, dtype: torch.dtype) -> Potential:
        """The potential under test."""
        return self.make(self.config, dtype)

    @pytest.fixture
    def local(self, dtype: torch.dtype) -> Potential:
        """The potential without what acts beyond the cutoff."""
        return self.make(self.separable or self.config, dtype)

    @staticmethod
    def make(config: PotentialConfig, dtype: torch.dtype) -> Potential:
        """A potential with random weights, none of them at a special start.

        Args:
            config: of the network.
            dtype: of the network.
        """
        torch.manual_seed(0)
        potential = build(config, ELEMENTS, neighbours=6.0, dtype=dtype)
        with torch.no_grad():
            for parameter in potential.network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return potential.train()

    @pytest.fixture
    def structures(self) -> list[Structure]:
        """Three random molecules."""
        return [checks.molecule(seed, atoms=atoms) for seed, atoms in ((0, 9), (1, 4), (2, 12))]

    def test_forces_are_minus_the_numerical_gradient(
        self, potential: Potential, structures: list[Structure]
    ) -> None:
        checks.check_forces_are_minus_the_numerical_gradient(potential, structures[0])

    def test_edge_vectors_give_the_derivatives_by_positions(
        self, potential: Potential, structures: list[Structure]
    ) -> None:
        checks.check_edge_vectors_give_the_derivatives_by_positions(potential, structures)
        if self.periodic:
            crystals = [checks.crystal(), checks.crystal(seed=5)]
            checks.check_edge_vectors_give_the_derivatives_by_positions(potential, crystals, stress=True)

    def test_energy_is_invariant_and_forces_equivariant_under_rotation_and_reflection(
        self, potential: Potential, structures: list[Structure]
    ) -> None:
        checks.check_rotation_and_reflection(potential, structures[0])

    def test_translation_changes_nothing(self, potential: Potential, structures: list[Structure]) -> None:
        checks.check_translation(potential, structures[0])

    def test_the_order_of_atoms_changes_nothing(
        self, potential: Potential, structures: list[Structure]
    ) -> None:
        checks.check_permutation(potential, structures[0])

    def test_a_batch_equals_its_members(self, potential: Potential, structures: list[Structure]) -> None:
        checks.check_batch_equals_members(potential, structures)

    def test_nothing_leaks_between_members_of_a_batch(
        self, potential: Potential, structures: list[Structure]
    ) -> None:
        checks.check_no_leakage(potential, structures)

    def test_energies_add_at_large_separation(self, local: Potential, structures: list[Structure]) -> None:
        checks.check_additivity(local, structures[0], structures[1])

    def test_energy_and_force_vanish_smoothly_at_the_cutoff(self, local: Potential) -> None:
        checks.check_smooth_at_cutoff(local, ELEMENTS)

    def test_isolated_atoms_have_an_energy_and_no_force(self, local: Potential) -> None:
        checks.check_isolated_atoms(local, ELEMENTS)

    def test_periodic_images_are_the_same_atom(self, potential: Potential) -> None:
        if not self.periodic:
            pytest.skip("this architecture is for molecules")
        checks.check_periodic_images(potential, checks.crystal())

    def test_crystals_obey_the_symmetries_too(self, potential: Potential) -> None:
        if not self.periodic:
            pytest.skip("this architecture is for molecules")
        checks.check_rotation_and_reflection(potential, checks.crystal())
        if potential.dtype == torch.float64:
            checks.check_forces_are_minus_the_numerical_gradient(potential, checks.crystal())
            checks.check_stress_is_the_strain_derivative(potential, checks.crystal())

    def test_second_derivatives_are_finite_where_directions_coincide(self, potential: Potential) -> None:
        checks.check_second_derivatives(potential, ELEMENTS)

    def test_every_weight_gets_a_gradient(self, potential: Potential, structures: list[Structure]) -> None:
        checks.check_every_weight_learns(potential, structures)

    def test_saving_and_loading_is_exact(
        self, potential: Potential, structures: list[Structure], tmp_path: Path
    ) -> None:
        checks.check_save_and_load(potential, structures[0], tmp_path)
