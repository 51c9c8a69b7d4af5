"""A downloaded ChemGPT becomes a folder that every command and transformers read; its logits stay its own."""

import json

import pytest
import torch

from chemscale.models.chemgpt_hf import WeightsError
from chemscale.molecules.generation.sampling import Sampling, sample
from chemscale.molecules.loading import load_trained
from chemscale.molecules.tokenizers.notation import TokenizerError
from chemscale.molecules.tokenizers.published import ChemGPTTokenizer
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer
from chemscale.points.trained.export import ExportError, export
from tests.helpers.paths import real_data
from tests.helpers.published import published_like
from tests.helpers.published_models import downloaded

SMILES = ["CCO", "CC(=O)Oc1ccccc1C(=O)O", "C[NH+](C)CC(=O)[O-]", "N#Cc1ccc(Br)cc1"]
FILES = {"1": "pubchem10M_tokenizer", "2": "pubchem10M_selfiesv2_tokenizer"}


@pytest.fixture(params=["1", "2"])
def version(request):
    return request.param


@pytest.fixture
def published(version):
    """The published tokenizer where it is, else one of its make."""
    try:
        file = real_data(f"chemgpt/{FILES[version]}.tokenizer.json")
    except pytest.skip.Exception:
        return published_like(version)
    return json.loads(file.read_text())


@pytest.fixture
def download(published, tmp_path):
    downloaded(tmp_path / "download", published)
    return tmp_path / "download"


@torch.no_grad()
def logits(model, ids):
    return model.dense(torch.tensor([ids]))[0]


@pytest.mark.parametrize(
    ("rows", "names"), [("keep", "published"), ("prune", "published"), ("prune", "selfies2")]
)
def test_logits_of_real_symbols_and_molecules_stay_the_same(version, published, tmp_path, rows, names):
    before = downloaded(tmp_path / "download", published)
    old = ChemGPTTokenizer.load(tmp_path / "download")
    done = export(from_hf=tmp_path / "download", to=tmp_path / "out", rows=rows, names=names, check=False)
    model, tokenizer = load_trained(tmp_path / "out", "cpu")
    assert tokenizer.representation.selfies_version == ("2" if names == "selfies2" else version)
    assert tokenizer.vocab_size == (old.vocab_size if rows == "keep" else len(old.symbols) + 5)
    assert any("word pieces" in line for line in done.lines)
    theirs = [old.symbol_id(symbol) for symbol in tokenizer.symbols if old.symbol_id(symbol) is not None]
    mine = [tokenizer.symbol_id(symbol) for symbol in tokenizer.symbols if old.symbol_id(symbol) is not None]
    if names == "selfies2" or version == "2":
        assert len(theirs) > 15
    columns = [*range(5), *(old.encode(symbol)[0] for symbol in old.symbols)]
    kept = [*range(5), *(tokenizer.encode(symbol)[0] for symbol in tokenizer.symbols)]
    assert [columns[kept.index(i)] for i in mine] == theirs
    for smiles in SMILES:
        if smiles.endswith("cc1") and len(columns) < 100:
            continue  # the small vocabulary lacks a symbol of it
        ids = [tokenizer.bos_id, *tokenizer.from_smiles(smiles)]
        ids_before = [old.bos_id, *old.from_smiles(smiles)]
        found, expected = logits(model, ids)[:, kept], logits(before, ids_before)[:, columns]
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)


def test_special_tokens_are_registered_and_ids_lie_in_the_vocabulary(download, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is an optional dependency")
    export(from_hf=download, to=tmp_path / "out", rows="prune")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == ("[PAD]", "[CLS]", "[SEP]")
    assert (model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id) == (1, 2, 3)
    assert len(tokenizer) == model.config.vocab_size == model.get_input_embeddings().num_embeddings
    batch = tokenizer(["[C]", "[C][O][C]"], return_tensors="pt", padding=True)
    prompt = {key: batch[key][:, :-1] for key in ("input_ids", "attention_mask")}
    drawn = model.generate(**prompt, do_sample=True, max_length=20)
    assert not {1, 2} & set(drawn[:, prompt["input_ids"].shape[1] :].flatten().tolist()) - {1}


def test_molecules_are_drawn_from_it(download, tmp_path):
    export(from_hf=download, to=tmp_path / "out", rows="prune", check=False)
    model, tokenizer = load_trained(tmp_path / "out", "cpu")
    (drawn,) = sample(model, 40, Sampling(max_length=30), seed=0, batch=40)
    smiles = [tokenizer.to_smiles(ids) for ids in drawn]
    assert sum(map(bool, smiles)) > 4


def test_a_repaired_folder_can_be_repaired_and_exported_again(download, tmp_path):
    export(from_hf=download, to=tmp_path / "out", check=False)
    export(from_hf=tmp_path / "out", to=tmp_path / "pruned", rows="prune", check=False)
    done = export(tmp_path / "pruned", tmp_path / "gpt2", form="gpt2", check=False)
    assert done.name == "download"
    assert "Weights and vocabulary are of a published model." in (tmp_path / "gpt2" / "README.md").read_text()


def test_rows_without_a_token_are_removed_and_told(published, tmp_path):
    model = downloaded(tmp_path / "download", published)
    weights = torch.load(tmp_path / "download" / "pytorch_model.bin", weights_only=True)
    padded = torch.cat([weights["transformer.wte.weight"], torch.ones(7, model.config.width)])
    weights |= {"transformer.wte.weight": padded, "lm_head.weight": padded}
    torch.save(weights, tmp_path / "download" / "pytorch_model.bin")
    done = export(from_hf=tmp_path / "download", to=tmp_path / "out", check=False)
    assert "7 rows beyond the vocabulary were removed: no token has their ids." in done.lines
    assert load_trained(tmp_path / "out", "cpu")[0].config.vocab_size == model.config.vocab_size


def test_what_does_not_belong_together_is_refused(download, tmp_path):
    raw = json.loads((download / "tokenizer.json").read_text())
    raw["model"]["vocab"]["[Xx]"] = len(raw["model"]["vocab"])
    (download / "tokenizer.json").write_text(json.dumps(raw))
    with pytest.raises(WeightsError, match="are of different models"):
        export(from_hf=download, to=tmp_path / "out")
    SelfiesTokenizer.from_symbols(["[C]"], stereo=False).save(download)
    with pytest.raises(TokenizerError, match="load with SelfiesTokenizer"):
        export(from_hf=download, to=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"from_hf": "d", "to": "o", "rows": "all"}, "--rows all: choose keep or prune"),
        ({"from_hf": "d", "to": "o", "names": "3"}, "--names 3: choose published or selfies2"),
        ({"from_hf": "d", "to": "o", "step": 3}, "--step is for the checkpoints"),
        ({"run": "r", "to": "o", "rows": "prune"}, "go with --from-hf"),
        ({"run": "r", "from_hf": "d", "to": "o"}, "Give either"),
        ({"to": "o"}, "Give either"),
        ({"run": "r"}, "Say where it goes"),
        ({"run": "r", "to": "o", "form": "pickle"}, "--as pickle: choose one of hf, gpt2, onnx"),
        ({"run": "r", "to": "o", "positions": 5}, "--positions is for --as gpt2"),
        ({"run": "r", "to": "o", "license": "My own"}, "--license My own: an identifier"),
        ({"run": "r", "to": "o", "datasets": ("a b",)}, "--dataset a b: a name on the Hub"),
        ({"from_hf": "nowhere", "to": "o"}, "nowhere: no such folder"),
        ({"run": "nowhere", "to": "o"}, "nowhere: no such run"),
    ],
)
def test_options_that_mean_nothing_are_refused_before_anything_is_read(
    request_, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExportError, match=words):
        export(**request_)
    assert not (tmp_path / "o").exists()
