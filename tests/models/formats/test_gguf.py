"""A GGUF file holds the exact GPT-2, and symbols that llama.cpp reads whole."""

import numpy as np
import pytest
import torch

from chemscale.models.chemgpt_hf import WeightsError
from chemscale.models.formats import gguf as module
from chemscale.models.formats.gguf import save_gguf
from chemscale.models.formats.gpt2 import to_gpt2_state_dict
from tests.helpers.random_chemgpt import SHAPE, model_of

MODEL = model_of(SHAPE)
SPECIALS = {"pad": 0, "bos": 1, "eos": 2, "unk": 3}
TOKENS = [
    "<pad>",
    "<bos>",
    "<eos>",
    "<unk>",
    ".",
    "##C",
    "C",
    *(f"[{n}]" for n in range(SHAPE.vocab_size - 7)),
]


@pytest.fixture
def reader(tmp_path):
    gguf = pytest.importorskip("gguf", reason="gguf is an optional dependency")
    assert save_gguf(MODEL, tmp_path / "model.gguf", TOKENS, SPECIALS, name="small") == 8
    return gguf.GGUFReader(tmp_path / "model.gguf")


def test_weights_are_those_of_the_exact_gpt2(reader):
    found = {each.name: torch.tensor(np.array(each.data)) for each in reader.tensors}
    theirs = to_gpt2_state_dict(MODEL)
    for layer in range(SHAPE.layers):
        ours = f"transformer.h.{layer}"
        torch.testing.assert_close(
            found[f"blk.{layer}.attn_qkv.weight"], theirs[f"{ours}.attn.c_attn.weight"].t(), rtol=0, atol=0
        )
        torch.testing.assert_close(
            found[f"blk.{layer}.ffn_up.weight"], theirs[f"{ours}.mlp.c_fc.weight"].t(), rtol=0, atol=0
        )
    assert found["position_embd.weight"].shape == (8, SHAPE.width)
    count = sum(tensor.numel() for tensor in theirs.values())
    assert sum(tensor.numel() for tensor in found.values()) == count


def test_symbols_are_read_whole_and_word_pieces_never(reader):
    types = list(reader.fields["tokenizer.ggml.token_type"].contents())
    control, defined, unused = 3, 4, 5
    assert types[:7] == [control, control, control, control, defined, unused, unused]
    assert set(types[7:]) == {defined}
    assert reader.fields["tokenizer.ggml.tokens"].contents() == TOKENS
    assert reader.fields["tokenizer.ggml.bos_token_id"].contents() == 1
    assert reader.fields["gpt2.context_length"].contents() == 8


def test_the_missing_package_is_named_with_what_installs_it(monkeypatch, tmp_path):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match=r"pip install 'chemscale\[gguf\]'"):
        save_gguf(MODEL, tmp_path / "model.gguf", TOKENS, SPECIALS, name="small")
