"""A GPT-2 with the same logits, and what would not have them is refused."""

import json
from dataclasses import replace

import pytest
import torch

from chemscale.models.chemgpt_hf import WeightsError
from chemscale.models.formats.gpt2 import exact_positions, gpt2_config, save_gpt2, to_gpt2_state_dict
from tests.helpers.random_chemgpt import SHAPE, model_of, tokens_of


def gpt2(model, positions):
    """``transformers``' own GPT-2 with the exported weights."""
    transformers = pytest.importorskip("transformers", reason="transformers is an optional dependency")
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**gpt2_config(model.config, positions))
    ).eval()
    weights = to_gpt2_state_dict(model, min(positions, exact_positions(model.config)))
    rows = "transformer.wpe.weight"
    weights[rows] = model.position_embedding.weight.detach()[:positions]
    missing, left_over = theirs.load_state_dict(weights, strict=False)
    assert (missing, left_over) == (["lm_head.weight"], [])
    theirs.tie_weights()
    return theirs


@torch.no_grad()
def difference(model, theirs, length):
    ids = tokens_of(model.config, length)
    return float((model.dense(ids) - theirs(ids).logits).abs().max())


@pytest.mark.parametrize("changes", [{}, {"layers": 3, "heads": 2}, {"width": 12}, {"layers": 1, "heads": 1}])
def test_gpt2_gives_the_same_logits(changes):
    model = model_of(replace(SHAPE, **changes))
    positions = exact_positions(model.config)
    assert positions == (20 if changes.get("layers") == 1 else 8)
    assert difference(model, gpt2(model, positions), positions) < 2e-5


def test_gpt2_is_exact_where_the_root_of_the_head_width_is():
    model = model_of(SHAPE)
    theirs = gpt2(model, 8).double()
    assert difference(model.double(), theirs, 8) < 1e-12


def test_beyond_the_window_a_gpt2_would_be_another_model():
    model = model_of(SHAPE)
    assert difference(model, gpt2(model, 16), 16) > 1e-2


@pytest.mark.parametrize("positions", [9, 0, -1])
def test_positions_that_are_not_exact_are_refused(positions, tmp_path):
    with pytest.raises(WeightsError, match=rf"--positions {positions}: .*1 to 8 tokens only"):
        save_gpt2(model_of(SHAPE), tmp_path / "out", positions=positions)
    assert not (tmp_path / "out").exists()


def test_the_folder_opens_in_transformers_and_ends_where_it_is_exact(tmp_path):
    auto = pytest.importorskip("transformers", reason="transformers is an optional dependency")
    model = model_of(SHAPE)
    assert save_gpt2(model, tmp_path, max_length=512) == 8
    theirs = auto.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(theirs).__name__ == "GPT2LMHeadModel"
    assert difference(model, theirs, 8) < 2e-5
    assert theirs.generation_config.max_length == 8
    assert json.loads((tmp_path / "config.json").read_text())["n_positions"] == 8
    with pytest.raises(IndexError):
        theirs(tokens_of(SHAPE, 9))
