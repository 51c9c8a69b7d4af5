"""A folder of a language model: opened by transformers, refused where its parts do not belong together."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.chemgpt_hf import WeightsError
from chemscale.molecules.generation.sampling import Sampling, draw, sample
from chemscale.molecules.loading import load_trained, save_trained
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer, TokenizerError

PROMPTS = ["[C][C][O]", "[C]", "[N][C][=C][C][=C]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of random, large weights: what it generates depends on every position."""
    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("model")
    tokenizer = SelfiesTokenizer.from_symbols(["[C]", "[=C]", "[N]", "[O]", "[Ring1]"], stereo=False)
    config = ChemGPTConfig(tokenizer.vocab_size, 16, 2, 2, max_positions=96, initializer_range=0.5)
    save_trained(ChemGPT(config), tokenizer, made, name="random", block=64)
    return made


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights["transformer.h.1.mlp.c_fc.weight"])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(copy, value):
    change_weights(copy, lambda weight: weight[3].fill_(value))
    with pytest.raises(WeightsError, match=r"blocks\.1\.mlp_in\.weight .* not finite.*earlier checkpoint"):
        load_trained(copy, "cpu")


def test_probabilities_that_are_not_finite_are_refused():
    logits = torch.tensor([[0.0, float("nan")]])
    with pytest.raises(ValueError, match="diverged"):
        draw(logits, Sampling(), torch.Generator())


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "pytorch_model.bin"])
def test_weights_in_another_form_are_refused_with_the_way_out(copy, name):
    (copy / "model.safetensors").rename(copy / name)
    with pytest.raises(WeightsError, match=r"model\.safetensors.*save_pretrained"):
        load_trained(copy, "cpu")


def test_another_vocabulary_of_the_same_size_is_refused(copy):
    other = SelfiesTokenizer.from_symbols(["[C]", "[=C]", "[N]", "[S]", "[Ring1]"], stereo=False)
    other.save(copy)
    with pytest.raises(TokenizerError, match="not the one"):
        load_trained(copy, "cpu")


def test_a_vocabulary_of_another_size_is_refused_in_any_folder(copy):
    config = json.loads((copy / "config.json").read_text())
    del config["chemscale"]
    (copy / "config.json").write_text(json.dumps(config))
    SelfiesTokenizer.from_symbols(["[C]"], stereo=False).save(copy)
    with pytest.raises(TokenizerError, match="5 tokens"):
        load_trained(copy, "cpu")


def test_what_was_saved_is_loaded_and_sampled(folder):
    model, tokenizer = load_trained(folder, "cpu")
    drawn = next(sample(model, 4, Sampling(max_length=8), seed=0))
    assert all(tokenizer.decode(ids) is not None for ids in drawn)
    assert "<bos>" in (folder / "README.md").read_text()


@pytest.fixture(scope="module")
def in_transformers(folder):
    transformers = pytest.importorskip("transformers", reason="transformers is an optional dependency")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def as_in_the_how_to(tokenizer, texts):
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    return {key: batch[key][:, :-1] for key in ("input_ids", "attention_mask")}


def test_the_tokenizer_of_a_model_knows_its_length_and_its_side(in_transformers):
    _, tokenizer = in_transformers
    assert (tokenizer.model_max_length, tokenizer.padding_side) == (96, "left")
    assert list(tokenizer("[C]")) == ["input_ids", "attention_mask"]


def test_a_prompt_begins_with_the_begin_and_has_no_end(in_transformers):
    model, tokenizer = in_transformers
    ids = as_in_the_how_to(tokenizer, "[C][O]")["input_ids"][0].tolist()
    assert ids == [tokenizer.bos_token_id, *tokenizer.convert_tokens_to_ids(["[C]", "[O]"])]
    assert model.config.eos_token_id not in ids


def test_molecules_generated_in_a_batch_are_those_generated_alone(in_transformers):
    model, tokenizer = in_transformers
    options = {"do_sample": False, "max_new_tokens": 12, "eos_token_id": None}
    together = model.generate(**as_in_the_how_to(tokenizer, PROMPTS), **options)
    for row, text in zip(together, PROMPTS, strict=True):
        alone = model.generate(**as_in_the_how_to(tokenizer, [text]), **options)[0]
        assert row.tolist()[-len(alone) :] == alone.tolist()


def test_padding_on_the_left_changes_states_unless_positions_are_given(in_transformers):
    model, tokenizer = in_transformers
    batch = tokenizer(PROMPTS[1:], return_tensors="pt", padding=True)
    alone = model(**tokenizer(PROMPTS[1], return_tensors="pt")).logits[0]
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    given = model(**batch, position_ids=positions).logits[0, -len(alone) :]
    torch.testing.assert_close(given, alone, atol=1e-4, rtol=1e-4)
    assert (model(**batch).logits[0, -len(alone) :] - alone).abs().max() > 0.1
    right = tokenizer(PROMPTS[1:], return_tensors="pt", padding=True, padding_side="right")
    torch.testing.assert_close(model(**right).logits[0, : len(alone)], alone, atol=1e-4, rtol=1e-4)
