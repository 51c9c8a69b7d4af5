"""ChemGPT is GPT-Neo: the same numbers as transformers, both ways."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, GPTNeoConfig, GPTNeoForCausalLM

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.chemgpt_hf import (
    WeightsError,
    config_from_hf,
    load_hf_state_dict,
    load_pretrained,
    save_pretrained,
    to_hf_state_dict,
)

# width: matrices, all but embeddings, total (vocabulary 684), from the model cards' names and file sizes.
LADDER = {
    16: (73_728, 77_600, 121_312),
    32: (294_912, 302_656, 390_080),
    64: (1_179_648, 1_195_136, 1_369_984),
    128: (4_718_592, 4_749_568, 5_099_264),
    256: (18_874_368, 18_936_320, 19_635_712),
    512: (75_497_472, 75_621_376, 77_020_160),
    1024: (301_989_888, 302_237_696, 305_035_264),
    2048: (1_207_959_552, 1_208_455_168, 1_214_050_304),
}


def small(**changes) -> ChemGPT:
    torch.manual_seed(0)
    values = {"vocab_size": 50, "width": 32, "layers": 4, "heads": 4, "window": 6, "max_positions": 64}
    model = ChemGPT(ChemGPTConfig(**(values | changes)))
    for parameter in model.parameters():  # the initial biases are zero and would hide a missing one
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def transformers_model(folder, attention="eager"):
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention).eval()


@pytest.mark.parametrize("width", LADDER)
def test_the_ladder_has_the_published_parameter_counts(width):
    counts = ChemGPTConfig(684, width).parameter_counts()
    assert (counts["matrices"], counts["non_embedding"], counts["all"]) == LADDER[width]


@pytest.mark.parametrize("width", [16, 64])
def test_counted_parameters_are_those_of_the_module(width):
    model = ChemGPT(ChemGPTConfig(684, width))
    assert sum(p.numel() for p in model.parameters()) == LADDER[width][2]


@pytest.mark.parametrize("layers", [3, 4])
def test_a_saved_folder_opens_in_transformers_with_equal_logits_and_loss(tmp_path, layers):
    model = small(layers=layers)
    save_pretrained(model, tmp_path)
    theirs = transformers_model(tmp_path)
    tokens = torch.randint(4, 50, (3, 40))
    with torch.no_grad():
        out = theirs(tokens, labels=tokens)
        logits = model.dense(tokens)
    torch.testing.assert_close(logits, out.logits, rtol=1e-4, atol=2e-5)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(loss, out.loss, rtol=1e-5, atol=1e-6)


def test_the_window_matters_in_that_comparison():
    tokens = torch.randint(4, 50, (1, 40))
    narrow, wide = small(window=6), small(window=40)
    wide.load_state_dict(narrow.state_dict())
    assert (narrow.dense(tokens) - wide.dense(tokens)).abs().max() > 1e-3


def test_weights_of_transformers_load_and_come_back_unchanged():
    config = GPTNeoConfig(
        vocab_size=50, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
    )
    theirs = GPTNeoForCausalLM(config).eval()
    model = ChemGPT(config_from_hf(json.loads(config.to_json_string()) | {"model_type": "gpt_neo"})).eval()
    load_hf_state_dict(model, theirs.state_dict())
    back = to_hf_state_dict(model)
    for name, tensor in theirs.state_dict().items():
        if name in back:
            assert torch.equal(back[name], tensor), name
    tokens = torch.randint(0, 50, (2, 30))
    with torch.no_grad():
        torch.testing.assert_close(model.dense(tokens), theirs(tokens).logits, rtol=1e-4, atol=2e-5)


def test_a_saved_folder_loads_here_again(tmp_path):
    model = small()
    save_pretrained(model, tmp_path)
    again = load_pretrained(tmp_path)
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_the_published_configuration_with_its_end_symbol_outside_the_vocabulary_is_read():
    raw = {
        "model_type": "gpt_neo",
        "hidden_size": 128,
        "num_layers": 24,
        "num_heads": 16,
        "vocab_size": 684,
        "window_size": 256,
        "max_position_embeddings": 2048,
        "attention_types": [[["global", "local"], 12]],
        "bos_token_id": 50256,
        "eos_token_id": 50256,
    }
    assert config_from_hf(raw) == ChemGPTConfig(684, 128)


def test_other_architectures_and_untied_heads_are_refused():
    with pytest.raises(WeightsError, match="llama"):
        config_from_hf({"model_type": "llama"})
    model = small()
    weights = to_hf_state_dict(model) | {"lm_head.weight": torch.zeros(50, 32)}
    with pytest.raises(WeightsError, match="ties"):
        load_hf_state_dict(model, weights)
    weights = to_hf_state_dict(model)
    del weights["transformer.h.1.ln_1.weight"]
    with pytest.raises(WeightsError, match=r"ln_1"):
        load_hf_state_dict(model, weights)


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(ValueError, match="multiple of 16"):
        ChemGPTConfig(100, 40)


def test_counted_flops_are_those_that_pytorch_counts():
    model = small(window=64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.dense(torch.randint(4, 50, (3, 20)))
    assert counter.get_total_flops() == model.config.forward_flops(60, 3 * 400)
