"""A batch knows its edges by sender and, where every edge has its reverse, by pairs."""

import numpy as np
import pytest
import torch

from chemscale.models.geometry import edge_vectors
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
