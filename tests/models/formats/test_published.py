"""Weights as people publish them are read without running anything, or refused with the reason."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from chemscale.models.chemgpt_hf import WeightsError
from chemscale.models.formats.published import keep_rows, load_published
from tests.helpers.published import published_like
from tests.helpers.published_models import downloaded
from tests.helpers.random_chemgpt import tokens_of


@pytest.fixture
def folder(tmp_path):
    downloaded(tmp_path / "download", published_like("2"))
    return tmp_path / "download"


def logits(model):
    with torch.no_grad():
        return model.dense(tokens_of(model.config, 12))


@pytest.mark.parametrize("half", [False, True])
def test_pickled_weights_give_the_model_that_was_saved(half, tmp_path):
    saved = downloaded(tmp_path, published_like("1"), half=half)
    torch.testing.assert_close(logits(load_published(tmp_path)), logits(saved), rtol=0, atol=0)


def test_weights_in_several_files_give_it_too(folder):
    whole = load_published(folder)
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    (folder / "pytorch_model.bin").unlink()
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: weights[name].clone() for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    torch.testing.assert_close(logits(load_published(folder)), logits(whole), rtol=0, atol=0)


class Runs:
    """A pickle that writes a file when it is opened by something that runs code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(folder, tmp_path):
    trace = tmp_path / "it-ran"
    for write in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        write({"transformer.wte.weight": Runs(trace)}, folder / "pytorch_model.bin")
        with pytest.raises(WeightsError, match=r"pytorch_model\.bin: .*can run code.*as safetensors"):
            load_published(folder)
    assert not trace.exists()


def cut_short(folder):
    file = folder / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:-2000])


def pointer(folder):
    (folder / "pytorch_model.bin").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    )


def elsewhere(folder):
    (folder / "pytorch_model.bin").rename(folder.parent / "outside.bin")
    index = {"weight_map": {"transformer.wte.weight": "../outside.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def no_weights(folder):
    (folder / "pytorch_model.bin").unlink()


def not_json(folder):
    (folder / "config.json").write_text("{")


def another_architecture(folder):
    (folder / "config.json").write_text('{"model_type": "bert"}')


def half_a_config(folder):
    (folder / "config.json").write_text('{"model_type": "gpt_neo"}')


def a_list(folder):
    torch.save([torch.ones(2)], folder / "pytorch_model.bin")


def not_finite(folder):
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    weights["transformer.ln_f.bias"][0] = float("nan")
    torch.save(weights, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_short, "damaged"),
        (pointer, "pointer of Git LFS"),
        (elsewhere, r"names \.\./outside\.bin, which is not in that folder"),
        (no_weights, "no weights there"),
        (not_json, r"config\.json: damaged"),
        (another_architecture, "model_type is 'bert'"),
        (half_a_config, "not that of a GPT-Neo"),
        (a_list, "not a table of tensors"),
        (not_finite, r"norm\.bias has weights that are not finite"),
    ],
)
def test_what_cannot_be_read_is_named(folder, damage, words):
    damage(folder)
    with pytest.raises(WeightsError, match=words):
        load_published(folder)


def test_rows_that_stay_keep_their_logits(folder):
    model = load_published(folder)
    rows = [0, 1, 2, 3, 7, 11]
    kept = keep_rows(model, rows, {"pad_id": 1, "bos_id": 2, "eos_id": 3})
    ids = torch.tensor([[2, 4, 5, 4, 3]])
    with torch.no_grad():
        whole = model.dense(torch.tensor(rows)[ids])[..., rows]
        torch.testing.assert_close(kept.dense(ids), whole, rtol=1e-6, atol=1e-6)
