"""One ONNX graph for every batch, length and side of padding."""

import logging

import numpy as np
import pytest
import torch

from chemscale.models.chemgpt_hf import WeightsError
from chemscale.models.formats import onnx
from chemscale.models.formats.onnx import PlainChemGPT, onnx_logits, save_onnx
from tests.helpers.random_chemgpt import SHAPE, model_of, tokens_of

MODEL = model_of(SHAPE)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is an optional dependency")
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    level = logging.getLogger("onnxscript").level
    save_onnx(MODEL, path)
    assert logging.getLogger("onnxscript").level == level
    return path


@torch.no_grad()
def ours(ids):
    return MODEL.dense(ids).numpy()


@pytest.mark.parametrize("length", [1, 5, 20])
def test_the_graph_gives_the_same_logits_beyond_the_window_too(graph, length):
    ids = tokens_of(SHAPE, length)
    for rows in (ids[:1], ids):
        found = onnx_logits(graph, rows.numpy(), np.ones(rows.shape))
        assert np.abs(found - ours(rows)).max() < 2e-5


def test_padding_on_either_side_changes_nothing(graph):
    ids = tokens_of(SHAPE, 6)
    padding, seen = torch.zeros(3, 4, dtype=torch.int64), torch.ones(3, 6, dtype=torch.int64)
    left = onnx_logits(graph, torch.cat([padding, ids], 1).numpy(), torch.cat([padding, seen], 1).numpy())
    right = onnx_logits(graph, torch.cat([ids, padding], 1).numpy(), torch.cat([seen, padding], 1).numpy())
    assert np.abs(left[:, 4:] - ours(ids)).max() < 2e-5
    assert np.abs(right[:, :6] - ours(ids)).max() < 2e-5
    assert np.isfinite(left).all()
    assert np.isfinite(right).all()


def test_features_are_those_that_the_logits_are_made_of():
    ids = tokens_of(SHAPE, 5)
    with torch.no_grad():
        logits, hidden = PlainChemGPT(MODEL)(ids, torch.ones_like(ids))
        torch.testing.assert_close(MODEL.logits(hidden), logits)


def test_missing_packages_are_named_with_what_installs_them(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else 1)
    with pytest.raises(WeightsError, match=r"needs onnxruntime, .*pip install 'chemscale\[onnx\]'"):
        save_onnx(MODEL, tmp_path / "model.onnx")
