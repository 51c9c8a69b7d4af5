"""Pooled states are those of transformers, and of nothing but the molecule's own symbols."""

import numpy as np
import pytest
import torch

from chemscale.molecules.loading import load_trained
from chemscale.molecules.representation.states import PoolingError, length_batches, pooled_states
from tests.molecules.representation.conftest import MOLECULES


@pytest.fixture(scope="module")
def opened(model):
    return load_trained(model, "cpu")


@pytest.fixture(scope="module")
def sequences(opened):
    return [opened[1].from_smiles(text) for text in MOLECULES]


@pytest.mark.parametrize("pooling", ["mean", "last", "max"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_states_are_those_of_transformers(opened, sequences, model, pooling, layer):
    transformers = pytest.importorskip("transformers", reason="transformers is an optional dependency")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(model, attn_implementation="eager").eval()
    ids = sequences[2]
    with torch.no_grad():
        out = theirs(torch.tensor([[opened[1].bos_id, *ids]]), output_hidden_states=True)
    states = out.hidden_states[layer][0, 1:]
    expected = {"mean": states.mean(0), "last": states[-1], "max": states.max(0).values}[pooling]
    ours = pooled_states(opened[0], sequences[1:4], layer=layer, pooling=pooling)[1]
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-5)


def test_negative_layers_count_from_the_last(opened, sequences):
    few = sequences[:3]
    assert torch.equal(pooled_states(opened[0], few, layer=-1), pooled_states(opened[0], few, layer=2))
    assert torch.equal(pooled_states(opened[0], few, layer=-3), pooled_states(opened[0], few, layer=0))


@pytest.mark.parametrize("pooling", ["mean", "last", "max"])
def test_vectors_can_be_differentiated(opened, sequences, pooling):
    opened[0].zero_grad()
    pooled_states(opened[0], sequences[:3], pooling=pooling).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in opened[0].blocks.parameters())
    opened[0].zero_grad(set_to_none=True)


@pytest.mark.parametrize(
    ("options", "why"), [({"layer": 3}, "0 .* to 2"), ({"pooling": "cls"}, "mean, last")]
)
def test_a_layer_or_pooling_that_there_is_not_is_refused(opened, sequences, options, why):
    with pytest.raises(PoolingError, match=why):
        pooled_states(opened[0], sequences[:2], **options)


def test_no_molecule_has_no_vector(opened):
    with pytest.raises(ValueError, match="nothing to embed"):
        pooled_states(opened[0], [[]])


def test_batches_hold_every_molecule_once_and_no_more_symbols_than_asked():
    lengths = np.random.default_rng(0).integers(1, 60, size=200).tolist()
    batches = list(length_batches(lengths, 128))
    assert sorted(i for batch in batches for i in batch) == list(range(200))
    assert max(sum(lengths[i] + 1 for i in batch) for batch in batches) <= 128
    assert list(length_batches([500, 3], 128)) == [[1], [0]]
