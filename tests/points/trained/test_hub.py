"""A model goes onto the Hub whole, by the Hub's own library, or a sentence says why not."""

import os
import subprocess
import sys

import pytest

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.molecules.loading import save_trained
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer
from chemscale.points.trained import hub as module
from chemscale.points.trained.export import ExportError, export
from tests.helpers.hub import TOKEN, hub

huggingface_hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is an optional dependency")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A saved model folder."""
    folder = tmp_path_factory.mktemp("model") / "small"
    tokenizer = SelfiesTokenizer.from_symbols(["[C]", "[=C]", "[O]"], stereo=False)
    shape = ChemGPTConfig(tokenizer.vocab_size, 8, layers=1, heads=2, max_positions=16)
    save_trained(ChemGPT(shape), tokenizer, folder, name="small", block=16)
    return folder


@pytest.fixture
def server(monkeypatch):
    with hub() as found:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", found.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


def test_all_files_arrive_as_one_commit_in_a_repository_that_is_made(server, model, tmp_path):
    done = export(model, tmp_path / "out", push_to="me/small", private=True, check=False)
    there = server.files["me/small"]
    assert there == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(there)
    assert server.private == {"me/small": True}
    assert server.commits == ["small, exported by chemscale"]
    assert done.url == f"{server.address}/me/small"
    assert done.lines[-1] == f"Pushed to {done.url}"


def test_nothing_stays_here_where_no_folder_is_asked_for(server, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = export(model, push_to="me/small", check=False)
    assert done.folder is None
    assert list(tmp_path.iterdir()) == []
    assert "model.safetensors" in server.files["me/small"]
    assert server.private == {"me/small": False}


def test_a_second_push_makes_another_commit_and_sends_no_weights_again(server, model):
    for _ in range(2):
        export(model, push_to="me/small", check=False)
    assert len(server.commits) == 2
    assert len(server.objects) == 1


def test_an_export_in_any_form_is_pushed_as_it_stands(server, model, tmp_path):
    out = tmp_path / "out"
    server.refuse["/commit/"] = 403
    with pytest.raises(ExportError, match=f"export {out} --push me/small tries again"):
        export(model, out, form="gpt2", push_to="me/small", check=False)
    (out / "README.md").write_text("Edited.")
    export(out, push_to="me/small")
    assert server.files["me/small"]["README.md"] == b"Edited."
    assert b"GPT2LMHeadModel" in server.files["me/small"]["config.json"]


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/api/repos/create", 401, "login is not valid"),
        ("/commit/", 403, "may not write to me/small"),
        ("/preupload/", 404, "does not know me/small"),
        ("/api/repos/create", 418, "the Hub refused it"),
    ],
)
def test_a_refusal_is_one_sentence_and_the_folder_stays(server, model, tmp_path, address, status, words):
    server.refuse[address] = status
    out = tmp_path / "out"
    with pytest.raises(ExportError, match=rf"--push me/small: .*{words}.*stands in {out}.*tries again"):
        export(model, out, push_to="me/small", check=False)
    assert server.commits == []
    export(out, push_to="me/small", check=False)
    assert server.files["me/small"]["model.safetensors"] == (model / "model.safetensors").read_bytes()


def test_without_a_network_it_is_a_sentence(server, model, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ExportError, match=r"cannot be reached from here.*the same command tries again"):
        export(model, push_to="me/small", check=False)


def test_offline_mode_is_said(model, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(ExportError, match="HF_HUB_OFFLINE is set"):
        export(model, push_to="me/small", check=False)


def test_what_cannot_be_pushed_is_refused_before_the_model_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(ExportError, match="not the name of a repository"):
        export(tmp_path / "none", push_to="a/b/c")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ExportError, match="hf auth login"):
        export(tmp_path / "none", push_to="me/small")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ExportError, match=r"pip install 'chemscale\[hub\]'"):
        export(tmp_path / "none", push_to="me/small")


@pytest.mark.slow
def test_the_command_pushes_a_saved_folder(model):
    with hub() as server:
        own = {
            "HF_ENDPOINT": server.address,
            "HF_TOKEN": TOKEN,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }
        command = [sys.executable, "-m", "chemscale.export", str(model), "--push", "me/small", "--no-check"]
        done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"Pushed to {server.address}/me/small" in done.stdout
        assert "model.safetensors" in server.files["me/small"]
