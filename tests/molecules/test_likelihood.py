"""The likelihood of a molecule is its own: packing does not change it, and it is what training counts."""

import pytest
import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.molecules.likelihood import sequence_nll

SEQUENCES = [[5, 6, 2], [4, 2], [7, 8, 9, 4, 5, 2], [6, 6]]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ChemGPT(ChemGPTConfig(10, 16, layers=2, heads=2, initializer_range=0.5)).eval()


def test_the_likelihood_of_a_molecule_is_the_same_alone_and_among_others(model):
    together = sequence_nll(model, SEQUENCES)
    alone = torch.cat([sequence_nll(model, [each]) for each in SEQUENCES])
    assert torch.allclose(together, alone, atol=1e-5)


def test_it_is_the_sum_over_the_symbols_of_the_dense_model(model):
    ids = SEQUENCES[2]
    logits = model.dense(torch.tensor([[1, *ids[:-1]]]))[0]
    expected = -logits.log_softmax(-1)[range(len(ids)), ids].sum()
    assert sequence_nll(model, SEQUENCES)[2].item() == pytest.approx(expected.item(), rel=1e-5)


def test_it_can_be_differentiated(model):
    sequence_nll(model, SEQUENCES).mean().backward()
    assert all(p.grad is not None for p in model.blocks.parameters())


@pytest.mark.parametrize(("sequences", "why"), [([], "No sequence"), ([[]], "empty"), ([[4] * 3000], "3000")])
def test_what_has_no_likelihood_is_refused(model, sequences, why):
    with pytest.raises(ValueError, match=why):
        sequence_nll(model, sequences)
