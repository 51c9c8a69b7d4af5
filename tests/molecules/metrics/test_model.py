"""Molecules of a model are drawn once: what an interruption left is gone on from, with the same molecules."""

import pytest
import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.molecules.loading import save_trained
from chemscale.molecules.metrics.novelty.index import IndexBuildError
from chemscale.molecules.metrics.run import evaluate_molecules
from chemscale.molecules.metrics.sampled import model as drawing
from chemscale.molecules.metrics.sampled.files import SamplesError
from chemscale.molecules.metrics.sampled.model import Draws, draw_samples
from chemscale.molecules.row_shards import ShardError
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer
from tests.helpers.local_runs import write_run

DRAWS = Draws(n=50, batch=10, max_length=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("model")
    tokenizer = SelfiesTokenizer.from_symbols(["[C]", "[=C]", "[N]", "[O]", "[F]", "[Ring1]"], stereo=False)
    config = ChemGPTConfig(tokenizer.vocab_size, 16, 2, 2, max_positions=64)
    save_trained(ChemGPT(config), tokenizer, made, name="random", block=64)
    return made


def test_draws_that_were_interrupted_go_on_to_the_same_molecules(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "SHARD", 20)
    whole = draw_samples(folder, DRAWS, tmp_path / "whole", device="cpu", silent=True)
    real, calls = drawing.sample, []

    def stopped(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(drawing, "sample", stopped)
    with pytest.raises(KeyboardInterrupt):
        draw_samples(folder, DRAWS, tmp_path / "part", device="cpu", silent=True)
    again = draw_samples(folder, DRAWS, tmp_path / "part", device="cpu", silent=True)
    assert again.drawn == whole.drawn
    assert len(whole.drawn) == 50
    assert len(calls) == 4  # one before the stop, the stop, and the two that were missing
    with pytest.raises(ShardError, match="seed differ"):
        draw_samples(folder, Draws(50, 1, 10, 20), tmp_path / "part", device="cpu", silent=True)


def test_a_model_is_judged_with_what_became_of_every_sequence(folder, tmp_path):
    options = {"n": 40, "max_length": 20, "workers": 1, "fcd": False, "device": "cpu", "progress": False}
    found = evaluate_molecules(folder, out=tmp_path / "o", **options)
    assert sum(found.fates.values()) == 40
    assert {"truncated", "rewritten", "exact"} <= found.values.keys()
    assert found.page.is_file()


def test_a_folder_with_neither_a_model_nor_molecules_is_named(tmp_path):
    with pytest.raises(SamplesError, match="neither a run, a model folder nor"):
        evaluate_molecules(tmp_path, workers=1)


def test_a_run_named_as_training_without_its_corpus_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drawn.smi").write_text("CCO\n")
    write_run(tmp_path / "runs" / "sweep", "run")
    with pytest.raises(IndexBuildError, match="corpus that this run was trained on is not here"):
        evaluate_molecules("drawn.smi", training="runs/sweep/run", workers=1)
