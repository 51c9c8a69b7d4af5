"""A part of a potential is trained, whatever its family; it grows by elements and stays what it was."""

from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from chemscale.models.adaptation.adaptation import Adaptation
from chemscale.models.adaptation.groups import AdaptationError
from chemscale.models.adaptation.lora import Lora, LowRank, merged
from chemscale.models.adaptation.potentials import PotentialGroups, with_elements
from chemscale.models.potentials import CONFIGS, build, load_potential, read_config, save_potential
from chemscale.structures.graphs import Structure, collate
from chemscale.tasks.optimisation import AdamW
from chemscale.training.metrics.flops import phase_flops

FAMILIES = ["schnet", "painn", "spookynet", "nequip", "allegro", "mace"]
ELEMENTS = (1, 6, 8)
SMALL = {"nequip": {"radial_width": 4}, "mace": {"l_max": 1, "correlation": 2, "radial_width": 4}}
WAYS = {
    "frozen": Adaptation(("embeddings", "layers:0")),
    "the readout": Adaptation(("all but readout",)),
    "adapters": Adaptation(lora=Lora(2, 4.0)),
    "adapters of the readout and elements": Adaptation(lora=Lora(2, 4.0, ("readout",)), also=("elements",)),
}


def potential(family, elements=ELEMENTS):
    torch.manual_seed(0)
    shape = {"family": family, "width": 4, "layers": 2, **SMALL.get(family, {})}
    return build(read_config(shape), elements, scale=2.0, neighbours=4.0)


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    numbers = np.array([1, 6, 8, 1])
    members = [Structure(numbers, 1.2 * random.normal(size=(4, 3)), charge=q, spin=1) for q in (0, 1)]
    return collate([member.with_neighbours(5.0) for member in members])


def loss(model, batch):
    found = model.train()(batch)
    return found.energy.square().sum() + found.forces.square().sum()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_frozen_keeps_its_bytes_and_all_else_moves_by_forces_through_it(family, way, batch, tmp_path):
    model, adaptation = potential(family), WAYS[way]
    groups, before = PotentialGroups(model), deepcopy(model.state_dict())
    tuned = adaptation.apply(model, groups)
    trained = [p for p in tuned.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == adaptation.trained_parameters(groups)
    optimizer = AdamW(1e-2).build(tuned, fused=False)
    for _ in range(2):  # of an adapter B moves first
        optimizer.zero_grad()
        loss(tuned, batch).backward()
        optimizer.step()
    assert all(p.grad is None for p in tuned.parameters() if not p.requires_grad)
    plain = merged(tuned)
    kept = adaptation.frozen(groups)
    if adaptation.lora:
        kept -= groups.adapted(adaptation.lora.targets)
    for name, tensor in plain.state_dict().items():
        if name in kept or name not in groups.shapes:
            assert torch.equal(tensor, before[name]), name
    moved = {name for name, t in plain.state_dict().items() if not torch.equal(t, before[name])}
    assert moved >= {n for n in groups.members(["readout"], "k") - kept if "weight" in n}
    save_potential(plain, tmp_path / "model")
    opened = load_potential(tmp_path / "model")
    ours, theirs = tuned.eval()(batch), opened(batch)
    assert torch.allclose(ours.energy, theirs.energy, rtol=1e-5)
    assert torch.allclose(ours.forces, theirs.forces, atol=1e-5 * float(ours.forces.abs().max()))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_groups_of_every_family_are_its_parts(family):
    groups = PotentialGroups(potential(family))
    assert groups.names() == ["embeddings", "layers", "radial", "readout", "elements"]
    parts = [groups.members([part], "k") for part in ("embeddings", "layers", "readout")]
    basis = groups.matching(r"basis\.")
    assert sum(map(len, parts)) + len(basis) == len(groups.shapes) == len(basis.union(*parts))
    assert groups.members(["layers:0-1"], "k") == groups.members(["layers"], "k")
    assert "network.embedding.weight" in groups.elements & groups.members(["embeddings"], "k")
    assert groups.members(["all but layers:1"], "k") == set(groups.shapes) - groups.matching(r"layers\.1\.")


@pytest.mark.parametrize("family", FAMILIES)
def test_more_elements_leave_predictions_as_they_were_and_begin_as_the_mean(family, batch):
    model = potential(family).eval()
    larger = with_elements(model, (*ELEMENTS, 7, 16)).eval()
    assert larger.elements == (1, 6, 7, 8, 16)
    assert torch.equal(larger(batch).energy, model(batch).energy)
    assert torch.equal(larger(batch).forces, model(batch).forces)
    other = batch.clone()
    other.z = torch.where(other.z == 8, 16, other.z)
    assert larger(other).forces.isfinite().all()
    table, grown = model.network.embedding.weight, larger.network.embedding.weight
    if family == "allegro":  # ordered pairs
        table, grown = table.unflatten(0, (3, 3)), grown.unflatten(0, (5, 5))
        assert torch.allclose(grown[2, 0], table.mean(0)[0])
        assert torch.allclose(grown[0, 4], table.mean(1)[0])
    else:
        assert torch.allclose(grown[2], table.mean(0))
    assert larger.references.tolist() == [0.0] * 5


def test_counted_work_falls_where_less_is_trained(batch):
    whole = phase_flops(potential("painn"), batch)
    few = WAYS["the readout"].apply(potential("painn"), PotentialGroups(potential("painn")))
    part = phase_flops(few, batch)
    assert part[0] == whole[0]
    assert part[2] < whole[2]


def test_work_of_adapters_grows_with_the_batch(batch):
    """Products of the matrices of the adapters themselves, which no batch has more of, are left out."""
    tuned = WAYS["adapters"].apply(potential("nequip"), PotentialGroups(potential("nequip")))
    members = [Structure(batch.z[:4].numpy(), batch.pos[:4].numpy(), spin=1) for _ in range(3)]
    one, three = (collate([m.with_neighbours(5.0) for m in members[:count]]) for count in (1, 3))
    assert phase_flops(tuned, three) == [3 * flops for flops in phase_flops(tuned, one)]


def test_a_low_rank_parameter_begins_as_it_was_and_copies_do_not_touch_each_other(batch):
    model = potential("nequip")
    expected = model.eval()(batch).energy
    tuned = WAYS["adapters"].apply(model, PotentialGroups(potential("nequip")))
    assert any(isinstance(module, LowRank) for module in tuned.modules())
    assert torch.equal(tuned(batch).energy, expected)
    first = merged(tuned)
    assert torch.equal(merged(tuned)(batch).energy, first(batch).energy)
    assert torch.equal(tuned(batch).energy, expected)


class Outsider(nn.Module):
    """The sum of what a table says of elements, times a linear function of the mean distance."""

    def __init__(self, config, types):
        super().__init__()
        self.config = config
        self.table = nn.Embedding(types, config.width)
        self.layers = nn.ModuleList([nn.Linear(config.width, config.width) for _ in range(config.layers)])
        self.per_type = nn.Parameter(torch.ones(2, types) if config.odd else torch.ones(2))
        self.readout = nn.Linear(config.width, 1)

    def forward(self, graph):
        x = graph.sum_over_neighbours(self.table(graph.types)[graph.senders] * graph.distances[:, None])
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.readout(x)[:, 0] * self.per_type.sum()


@dataclass(frozen=True)
class OutsiderConfig:
    family: ClassVar[str] = "outsider_of_groups"
    groups: ClassVar[dict[str, str]] = {"types": r"per_type"}
    width: int = 3
    layers: int = 2
    cutoff: float = 5.0
    odd: bool = False

    def network(self, elements, neighbours):
        return Outsider(self, len(elements))


def test_a_family_of_ones_own_has_groups_adapters_and_elements_too(batch, monkeypatch):
    monkeypatch.setitem(CONFIGS, OutsiderConfig.family, OutsiderConfig)
    model = build(OutsiderConfig(), ELEMENTS)
    groups = PotentialGroups(model)
    assert groups.names() == ["embeddings", "layers", "readout", "types", "elements"]
    assert groups.members(["types"], "k") == {"network.per_type"}
    assert groups.elements == {"network.table.weight"}
    assert len(groups.adapted(())) == 3
    assert torch.equal(with_elements(model, (1, 6, 7, 8))(batch).energy, model(batch).energy)
    with pytest.raises(AdaptationError, match=r"model.freeze=radial: no group.*embeddings, layers, readout"):
        groups.members(["radial"], "model.freeze")
    with pytest.raises(AdaptationError, match=r"network.per_type of 3 elements has the shape \(2, 3\)"):
        with_elements(build(OutsiderConfig(odd=True), ELEMENTS), (1, 6, 7, 8))


def test_a_module_of_pytorch_geometric_has_its_tables_and_layers():
    groups = PotentialGroups(build(read_config({"family": "pyg", "width": 8, "layers": 2}), ELEMENTS))
    assert groups.names() == ["embeddings", "layers"]
    assert groups.members(["embeddings"], "k") == {"network.module.embedding.weight"}
    first = groups.members(["layers:0"], "k")
    assert first
    assert all(name.startswith("network.module.interactions.0.") for name in first)
    with pytest.raises(
        AdaptationError, match=r"no group of parameters. There are embeddings, layers, layers:N"
    ):
        groups.members(["readout"], "k")


def test_what_a_potential_does_not_have_is_refused_by_its_key():
    groups = PotentialGroups(potential("mace"))
    with pytest.raises(AdaptationError, match=r"model.freeze=blocks: no group.*layers:N"):
        groups.members(["blocks"], "model.freeze")
    with pytest.raises(AdaptationError, match="layers of the model are numbered 0 to 1"):
        groups.members(["layers:1-2"], "model.freeze")
    nothing = PotentialGroups(potential("nequip"))
    nothing.maps = frozenset()
    with pytest.raises(AdaptationError, match=r"no linear map.*model\.freeze"):
        nothing.adapted(())
