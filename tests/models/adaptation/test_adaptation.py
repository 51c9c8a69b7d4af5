"""A part of a model is trained: the rest keeps its values, and the work is counted as it is done."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from chemscale.models.adaptation.adaptation import Adaptation
from chemscale.models.adaptation.chemgpt import chemgpt_groups, with_vocabulary
from chemscale.models.adaptation.costs import blocks_with_gradient, training_flops
from chemscale.models.adaptation.groups import AdaptationError
from chemscale.models.adaptation.lora import Lora, merged
from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.kernels.compiled import use_kernels
from chemscale.tasks.optimisation import AdamW

CONFIG = ChemGPTConfig(vocab_size=12, width=16, layers=3, heads=2, max_positions=20)
GROUPS = chemgpt_groups(CONFIG)
WAYS = {
    "all": Adaptation(),
    "the head": Adaptation(("all but head",)),
    "the last block": Adaptation(("embeddings", "blocks:0-1")),
    "the tables": Adaptation(("blocks", "norms")),
    "norms": Adaptation(("all but norms",)),
    "the last norm": Adaptation(("embeddings", "blocks")),
    "attention": Adaptation(("all but attention",)),
    "adapters": Adaptation(lora=Lora(2, 4.0)),
    "adapters of one layer": Adaptation(lora=Lora(3, 3.0, ("mlp_in",))),
    "adapters and tokens": Adaptation(lora=Lora(2, 4.0), also=("tokens",)),
}


def trained(way, seed=0):
    """A model after a step on random tokens, as it was before, and the tokens."""
    torch.manual_seed(seed)
    model = ChemGPT(CONFIG)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    WAYS[way].apply(model, GROUPS)
    optimizer = AdamW(1e-2).build(model, fused=False)
    tokens = torch.randint(12, (4, 9))
    for _ in range(2):  # of an adapter B moves first
        loss = torch.nn.functional.cross_entropy(
            model.dense(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
        )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, before, optimizer, tokens


@pytest.mark.parametrize("way", WAYS)
def test_what_is_frozen_keeps_its_values_and_has_no_state(way):
    model, before, optimizer, _ = trained(way)
    frozen = WAYS[way].frozen(GROUPS)
    after = {name.replace(".base_layer", ""): value for name, value in model.state_dict().items()}
    for name, value in before.items():
        assert torch.equal(after[name], value) == (name in frozen), name
    numbers = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert (
        numbers
        == WAYS[way].trained_parameters(GROUPS)
        == sum(s["exp_avg"].numel() for s in optimizer.state.values())
    )


@pytest.mark.parametrize("way", ["adapters", "adapters of one layer", "adapters and tokens"])
def test_merged_adapters_are_an_ordinary_model_that_computes_the_same(way):
    model, before, _, tokens = trained(way)
    plain = merged(model)
    assert plain.state_dict().keys() == before.keys()
    assert any(hasattr(module, "lora_A") for module in model.modules())
    assert torch.allclose(plain.dense(tokens), model.dense(tokens), atol=1e-6)
    assert not torch.equal(plain.blocks[0].mlp_in.weight, before["blocks.0.mlp_in.weight"])


def test_fresh_adapters_leave_the_model_as_it_is():
    model, tokens = ChemGPT(CONFIG), torch.arange(12).view(2, 6)
    expected = model.dense(tokens)
    assert torch.equal(WAYS["adapters"].apply(model, GROUPS).dense(tokens), expected)


@pytest.mark.parametrize("way", WAYS)
def test_flops_are_those_that_torch_counts(way):
    """Products with matrices by token, attention by pair: counted apart, by two lengths."""
    use_kernels(False)
    try:
        model = WAYS[way].apply(ChemGPT(CONFIG), GROUPS)
        for length in (6, 13):
            tokens = torch.zeros((5, length), dtype=torch.long)
            with FlopCounterMode(display=False) as counter:
                model.dense(tokens).sum().backward()
            assert counter.get_total_flops() == training_flops(CONFIG, WAYS[way], 5 * length, 5 * length**2)
    finally:
        use_kernels(True)


def test_the_backward_pass_ends_at_the_first_block_that_is_trained():
    reached = {way: blocks_with_gradient(CONFIG, adaptation) for way, adaptation in WAYS.items()}
    assert reached == {
        **dict.fromkeys(WAYS, 3), "the head": 3, "the last block": 1, "the last norm": 0,
    }  # fmt: skip


def test_groups_are_what_their_names_say():
    everything = set(GROUPS.shapes)
    assert GROUPS.members(["embeddings", "blocks", "norms"], "k") == everything
    assert GROUPS.members(["all but blocks:1-2 and norms"], "k") == {
        name for name in everything if not name.startswith(("blocks.1", "blocks.2", "norm", "blocks.0.norm"))
    }
    assert GROUPS.members(["head"], "k") == {"token_embedding.weight"}
    assert GROUPS.count(everything) == CONFIG.parameter_counts()["all"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adaptation(("blocks:3",)).frozen(GROUPS), "numbered 0 to 2"),
        (lambda: Adaptation(("heads",)).frozen(GROUPS), "model.freeze=heads: no group.*embeddings.*all but"),
        (lambda: Adaptation(("all but heads",)).frozen(GROUPS), "model.freeze=heads: no group"),
        (lambda: Adaptation(("embeddings", "blocks", "norms")).frozen(GROUPS), "nothing would be trained"),
        (lambda: Adaptation(("norms",), Lora(2, 1.0)), "model.lora.also"),
        (lambda: Adaptation(also=("norms",)), "model.lora.rank"),
        (lambda: Adaptation(lora=Lora(2, 1.0, ("query",))).frozen(GROUPS), "qkv, attention_out"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(make, message):
    with pytest.raises(AdaptationError, match=message):
        make()


def test_without_peft_adapters_are_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr("chemscale.models.adaptation.lora.find_spec", lambda name: None)
    with pytest.raises(AdaptationError, match=r"pip install 'chemscale\[lora\]'"):
        Lora(2, 1.0)


def test_new_symbols_begin_as_the_mean_and_leave_the_others_as_they_were():
    model, tokens = ChemGPT(CONFIG), torch.arange(12).view(2, 6)
    before = model.dense(tokens)
    grown = with_vocabulary(
        model, ChemGPTConfig(vocab_size=14, width=16, layers=3, heads=2, max_positions=20)
    )
    after = grown.dense(tokens)
    assert torch.allclose(after[..., :12], before, atol=1e-6)
    assert torch.allclose(after[..., 12], before.mean(-1), atol=1e-5)
    assert grown.config.vocab_size == 14
    assert grown.token_embedding.weight.requires_grad
