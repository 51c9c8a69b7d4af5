"""A batch has its edges by receiver, and knows them by sender and, where each has its reverse, by pairs."""

import copy

import numpy as np
import pytest
import torch

from chemscale.models.geometry import edge_vectors
from chemscale.models.potential import EdgeOrderError
from chemscale.models.potentials import build
from chemscale.models.schnet import SchNetConfig
from chemscale.structures.graphs import Structure, collate
from chemscale.testing.checks import crystal, molecule

BATCHES = {
    "molecules": [molecule(0, atoms=9), molecule(1, atoms=4)],
    "crystals": [crystal(), crystal(seed=3)],
    "atoms apart": [Structure(np.array([1, 8], np.uint8), np.array([[0.0, 0, 0], [50.0, 0, 0]]))],
}


@pytest.fixture(params=list(BATCHES))
def batch(request):
    return collate([s.with_neighbours(4.0) for s in BATCHES[request.param]])


def test_edges_by_sender_are_all_edges_in_rising_order(batch):
    assert torch.equal(batch.sender_order.sort().values, torch.arange(batch.edge_index.shape[1]))
    assert (batch.edge_index[0][batch.sender_order].diff() >= 0).all()


def test_the_two_edges_of_a_pair_point_in_opposite_directions(batch):
    first, second = batch.both[0::2], batch.both[1::2]
    assert torch.equal(torch.cat([first, second]).sort().values, torch.arange(batch.edge_index.shape[1]))
    vectors = edge_vectors(batch)
    torch.testing.assert_close(vectors[first], -vectors[second], rtol=0, atol=1e-14)
    assert torch.equal(batch.edge_index[:, first], batch.edge_index.flip(0)[:, second])
    assert torch.equal(batch.halves, first)
    assert torch.equal(batch.pair_of[second], torch.arange(len(first)))
    assert torch.equal(batch.half_offsets.diff().nonzero().squeeze(1), batch.halves)
    assert batch.half_offsets[[0, -1]].tolist() == [0, len(first)]


def test_edges_without_reverse_make_no_pairs():
    structure = molecule(0, atoms=9).with_neighbours(4.0)
    structure.edges = structure.edges[:, 1:]
    batch = collate([structure])
    assert batch.get("halves") is None
    assert (batch.edge_index[0][batch.sender_order].diff() >= 0).all()


@pytest.mark.parametrize("kind", ["molecules", "crystals"])
def test_edges_in_any_order_are_put_by_receiver(kind):
    structures = [copy.deepcopy(s).with_neighbours(4.0) for s in BATCHES[kind]]
    expected = collate(structures)
    random = np.random.default_rng(0)
    for structure in structures:
        shuffled = random.permutation(structure.edges.shape[1])
        structure.edges = structure.edges[:, shuffled]
        structure.shifts = None if structure.shifts is None else structure.shifts[shuffled]
    batch = collate(structures)
    assert (batch.edge_index[1].diff() >= 0).all()
    torch.manual_seed(0)
    model = build(SchNetConfig(width=8, layers=1, cutoff=4.0), (1, 6, 8)).double()
    found, right = model(batch, stress=kind == "crystals"), model(expected, stress=kind == "crystals")
    torch.testing.assert_close(found.energy, right.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.forces, right.forces, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.stress, right.stress, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("key", ["edge_index", "sender_order"])
def test_a_batch_in_another_order_is_refused_and_not_summed_wrong(key):
    model = build(SchNetConfig(width=8, layers=1, cutoff=4.0), (1, 6, 8))
    batch = collate([molecule(0).with_neighbours(4.0)])
    model.check(batch)
    del batch.halves, batch.pair_of, batch.both
    batch[key] = batch[key].flip(-1)
    with pytest.raises(EdgeOrderError, match="order of their receivers"):
        model.check(batch)
    if key == "edge_index":
        batch.sender_order = None
        with pytest.raises(EdgeOrderError, match="collate"):
            model(batch)
