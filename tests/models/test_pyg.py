"""PyG's modules on our edges: physics, an oracle for our SchNet, and clear refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from chemscale.common import plugins
from chemscale.common.sections import ConfigurationError
from chemscale.models.potential import BoundaryError, Potential
from chemscale.models.potentials import build, load_potential, parameter_counts, read_config, save_potential
from chemscale.models.pyg import PyGConfig
from chemscale.models.schnet import SchNetConfig
from chemscale.structures.graphs import Structure, collate
from chemscale.testing import checks
from chemscale.testing.potential_suite import ELEMENTS, PotentialSuite


class Springs(MessagePassing):
    """A module of somebody's own, of edge vectors, with an energy for each atom."""

    def __init__(self, hidden_channels: int, cutoff: float):
        super().__init__(aggr="add")
        self.cutoff = cutoff
        self.strength = nn.Embedding(100, hidden_channels)

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        inside = (1 - edge_vec.square().sum(-1, keepdim=True) / self.cutoff**2) ** 3
        return self.propagate(edge_index, x=self.strength(z), inside=inside).sum(-1, keepdim=True)

    def message(self, x_i: Tensor, x_j: Tensor, inside: Tensor) -> Tensor:
        return x_i * x_j * inside


class AllPairs(nn.Module):
    """A module that finds its neighbours by positions, with an energy for each structure."""

    def __init__(self, width: int):
        super().__init__()
        self.strength = nn.Embedding(100, width)

    def forward(self, z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        i, j = torch.nonzero((batch[:, None] == batch) & ~torch.eye(len(z), dtype=torch.bool)).T
        pairs = (self.strength(z[i]) * self.strength(z[j])).sum(1)
        energies = pairs * torch.exp(-(pos[i] - pos[j]).square().sum(1))
        return energies.new_zeros(int(batch.max()) + 1).index_add(0, batch[i], energies)


class WithData(nn.Module):
    """A module of a ``Data``, one number a structure, and something beside."""

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.ones(1))

    def forward(self, data: Any) -> tuple[Tensor, str]:
        of_edges = (self.strength * torch.exp(-data.edge_weight)).to(data.edge_vec.dtype)
        energies = data.edge_vec.new_zeros(int(data.batch.max()) + 1)
        return energies.index_add(0, data.batch[data.edge_index[1]], of_edges)[:, None], "attention"


class NotFound(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, z: Tensor, bonds: Tensor) -> Tensor:
        return bonds


def springs(width: int) -> Springs:
    return Springs(width, 4.0)


HERE = __name__


class TestPyGSchNet(PotentialSuite):
    config = PyGConfig(width=8, layers=2, cutoff=4.0, arguments={"num_gaussians": 8})


class TestOwnModuleOfEdges(PotentialSuite):
    config = PyGConfig(f"{HERE}.Springs", width=4, cutoff=4.0)


class TestModuleThatFindsItsNeighbours(PotentialSuite):
    config = PyGConfig(f"{HERE}.AllPairs", edges="own", width=4, cutoff=4.0)
    periodic = False

    def test_energy_and_force_vanish_smoothly_at_the_cutoff(self, local: Potential) -> None:
        pytest.skip("the module of this test knows no cutoff")


@pytest.fixture
def structures() -> list[Structure]:
    return [checks.molecule(0, atoms=9), checks.molecule(1, atoms=4), checks.molecule(2, atoms=12)]


def ours_with_weights_of(theirs: Potential) -> Potential:
    """Our SchNet with the weights of PyG's."""
    module: Any = theirs.network.module
    ours = build(SchNetConfig(width=8, layers=2, cutoff=4.0, radial=8), ELEMENTS, dtype=torch.float64)
    network: Any = ours.network
    with torch.no_grad():
        network.embedding.weight.copy_(module.embedding.weight[list(ELEMENTS)])
        for mine, other in zip(network.layers, module.interactions, strict=True):
            mine.to_filter_space.weight.copy_(other.conv.lin1.weight)
            mine.filter[0].weight.copy_(torch.cat([other.mlp[0].weight.T, other.mlp[0].bias[None]]))
            for own, weights in (
                (mine.filter[2], other.mlp[2]),
                (mine.output[0], other.conv.lin2),
                (mine.output[2], other.lin),
            ):
                own.load_state_dict(weights.state_dict())
        network.readout[0].load_state_dict(module.lin1.state_dict())
        network.readout[2].load_state_dict(module.lin2.state_dict())
    return ours.eval()


@pytest.mark.parametrize("periodic", [False, True])
def test_our_schnet_is_that_of_pyg(structures: list[Structure], periodic: bool) -> None:
    config = PyGConfig(width=8, layers=2, cutoff=4.0, arguments={"num_gaussians": 8})
    theirs = PotentialSuite.make(config, torch.float64).eval()
    ours = ours_with_weights_of(theirs)
    chosen = [checks.crystal(), checks.crystal(seed=5)] if periodic else structures
    batch = collate([each.with_neighbours(4.0) for each in chosen])
    mine, other = ours(batch, stress=periodic), theirs(batch, stress=periodic)
    assert mine.forces.abs().max() > 1e-3
    torch.testing.assert_close(mine.energy, other.energy, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(mine.forces, other.forces, rtol=1e-9, atol=1e-10)
    if periodic:
        torch.testing.assert_close(mine.stress, other.stress, rtol=1e-9, atol=1e-11)


def test_pyg_itself_gives_the_same_without_us(structures: list[Structure]) -> None:
    config = PyGConfig(width=8, layers=2, cutoff=4.0, arguments={"num_gaussians": 8})
    theirs = PotentialSuite.make(config, torch.float64).eval()
    module: Any = theirs.network.module
    (structure,) = [structures[0].with_neighbours(4.0)]
    batch = collate([structure])
    pos = batch.pos.clone().requires_grad_()
    senders, receivers = batch.edge_index
    module.interaction_graph.forward = lambda pos, _: (
        batch.edge_index,
        (pos[senders] - pos[receivers]).norm(dim=1),
    )
    energy = module(batch.z, pos, batch.batch)
    (gradient,) = torch.autograd.grad(energy.sum(), pos)
    predicted = PotentialSuite.make(config, torch.float64).eval()(batch)
    torch.testing.assert_close(predicted.energy, energy.reshape(-1))
    torch.testing.assert_close(predicted.forces, -gradient)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_visnet_runs_on_our_edges(structures: list[Structure], dtype: torch.dtype) -> None:
    arguments = {"num_heads": 2, "num_rbf": 8, "lmax": 1}
    config = PyGConfig("torch_geometric.nn.models.ViSNet", arguments, width=8, layers=2, cutoff=4.0)
    potential = PotentialSuite.make(config, dtype)
    checks.check_edge_vectors_give_the_derivatives_by_positions(potential, structures)
    checks.check_batch_equals_members(potential, structures)
    checks.check_rotation_and_reflection(potential, checks.crystal())


def test_a_module_of_a_data_gets_edges_in_it(structures: list[Structure]) -> None:
    potential = build(PyGConfig(f"{HERE}.WithData", cutoff=4.0), ELEMENTS, dtype=torch.float64)
    (structure,) = [structures[0].with_neighbours(4.0)]
    batch = collate([structure])
    vectors = potential.vectors(batch)[0]
    expected = torch.exp(-vectors.norm(dim=1)).sum()
    torch.testing.assert_close(potential(batch).energy[0], expected)


def test_width_layers_and_cutoff_are_given_by_the_names_of_the_module() -> None:
    config = read_config({"family": "pyg", "width": 6, "layers": 2, "cutoff": 3.0})
    module: Any = build(config, ELEMENTS).network.module
    assert (module.hidden_channels, module.num_filters, module.num_interactions, module.cutoff) == (
        6,
        6,
        2,
        3.0,
    )
    counts = parameter_counts(build(config, ELEMENTS))
    assert counts["capacity"] == 12
    assert 0 < counts["blocks"] < counts["non_embedding"] < counts["all"]


def test_a_crystal_is_refused_where_the_module_finds_its_own_neighbours() -> None:
    potential = build(PyGConfig(f"{HERE}.AllPairs", edges="own"), ELEMENTS)
    with pytest.raises(BoundaryError, match=r"model\.edges=own"):
        potential(collate([checks.crystal().with_neighbours(4.0)]))


def test_modules_that_cannot_be_used_are_refused_by_key_before_any_training() -> None:
    for config, message in (
        (PyGConfig("torch_geometric.nn.models.SchNot"), r"model\.module='.*SchNot': cannot be imported"),
        (PyGConfig("SchNet"), "cannot be imported"),
        (PyGConfig("os.getcwd"), r"os\.getcwd: is no class of torch\.nn\.Module"),
        (PyGConfig(f"{HERE}.springs"), "A function .* CHEMSCALE_PLUGINS"),
        (PyGConfig(arguments={"depth": 3}), r"cannot be built with .*depth"),
        (PyGConfig(arguments={"cutoff": 9.0}), r"model\.arguments\.cutoff=9\.0: .*model\.cutoff=5\.0"),
        (PyGConfig(arguments={"num_gaussians": 1}), "cannot be built"),
        (PyGConfig(f"{HERE}.NotFound"), r"its forward takes bonds, which is none of z, "),
        (PyGConfig(f"{HERE}.AllPairs"), r"reads positions.*model\.edges=own"),
        (PyGConfig("torch.nn.Identity"), r"its forward takes input|no parameters"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            build(config, ELEMENTS)


def test_a_module_with_another_number_of_outputs_is_refused() -> None:
    dimenet = {"out_channels": 3, "num_bilinear": 2, "num_spherical": 2, "num_radial": 2}
    config = PyGConfig("torch_geometric.nn.models.DimeNet", dimenet, edges="own", width=4, layers=1)
    with pytest.raises(ConfigurationError, match=r"finds neighbours itself|returns \(2, 3\)"):
        build(config, ELEMENTS)


def test_a_function_is_taken_from_a_plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("chemscale.models.pyg.load_plugins", lambda: (HERE,))
    assert plugins.GROUP
    potential = build(PyGConfig(f"{HERE}.springs", width=4, cutoff=4.0), ELEMENTS)
    save_potential(potential, tmp_path)
    assert load_potential(tmp_path).network.config == potential.network.config
