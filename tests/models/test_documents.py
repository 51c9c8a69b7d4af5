"""Packing changes no molecule: not its loss, not its gradient."""

import numpy as np
import pytest
import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.layers import rectangles
from chemscale.models.layers.documents import Documents

LENGTHS = [5, 40, 17, 17, 3, 29, 8, 1]


@pytest.fixture(params=["batched products", "fused kernel"])
def kernel(request, monkeypatch):
    if request.param == "fused kernel":
        monkeypatch.setattr(rectangles, "SHORT_ON_CPU", 0)


def model(window: int = 6) -> ChemGPT:
    torch.manual_seed(0)
    return ChemGPT(ChemGPTConfig(50, 32, layers=4, heads=4, window=window, max_positions=64)).double()


def packed(lengths):
    tokens = torch.randint(4, 50, (sum(lengths),), generator=torch.Generator().manual_seed(1))
    positions = torch.cat([torch.arange(n) for n in lengths])
    return tokens, positions


def alone(net, tokens, lengths):
    return torch.cat([net.dense(part[None])[0] for part in tokens.split(lengths)])


@pytest.mark.parametrize("groups", [1, 3])
def test_each_molecule_has_the_same_logits_packed_and_alone(kernel, groups):
    net = model()
    tokens, positions = packed(LENGTHS)
    layout = Documents.from_lengths(LENGTHS, max_groups=groups)
    torch.testing.assert_close(
        net(tokens, positions, layout), alone(net, tokens, LENGTHS), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize("groups", [1, 3])
def test_gradients_are_the_same_packed_and_alone(kernel, groups):
    net = model()
    tokens, positions = packed(LENGTHS)
    layout = Documents.from_lengths(LENGTHS, max_groups=groups)
    net(tokens, positions, layout).square().sum().backward()
    ours = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    alone(net, tokens, LENGTHS).square().sum().backward()
    for mine, parameter in zip(ours, net.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-8, atol=1e-9)


def test_a_changed_molecule_changes_no_other():
    net = model()
    tokens, positions = packed(LENGTHS)
    layout = Documents.from_lengths(LENGTHS)
    before = net(tokens, positions, layout)
    changed = tokens.clone()
    changed[5:45] = (changed[5:45] + 1) % 50
    after = net(changed, positions, layout)
    same = (before == after).all(dim=1)
    assert same[:5].all()
    assert same[45:].all()
    assert not same[5:45].any()


def test_every_token_has_one_slot():
    many = np.random.default_rng(0).integers(3, 90, 500)
    layout = Documents.from_lengths(many)
    assert len(set(layout.rectangles.inverse.tolist())) == many.sum()
    assert layout.slots < 1.25 * many.sum()


def test_an_empty_molecule_is_refused():
    with pytest.raises(ValueError, match="at least one token"):
        Documents.from_lengths([3, 0])
