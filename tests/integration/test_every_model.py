"""Every verb works on every kind of model: what one tells of a molecule, the others know too."""

import csv
import inspect

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import chemscale
from chemscale.molecules.conditions import open_prefix
from chemscale.molecules.generation.generator import MoleculeGenerator
from chemscale.molecules.generation.sampling import Sampling, sample
from chemscale.molecules.likelihood import sequence_nll
from chemscale.molecules.loading import load_trained
from chemscale.molecules.metrics.background import Task, judge_weights
from chemscale.molecules.metrics.sampled.model import Draws, draw_samples, shard_seed
from chemscale.molecules.representation.estimator import ChemGPTEmbedding
from chemscale.probing.fine_tuning import FineTuning
from chemscale.reinforcement.policy import draw
from tests.helpers.kinds import KINDS, write_kind

MOLECULES = ["CCO", "CCN", "CCCO", "CN", "COC", "CCCCN", "NCCO", "OCCO"]
QUIET = {"progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """A model folder of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    return {kind: write_kind(kind, folder / f"of {kind}") for kind in KINDS}


@pytest.fixture(params=KINDS)
def run(request, kinds):
    return kinds[request.param]


@pytest.fixture
def opened(run):
    return load_trained(run, "cpu")


def behind(tokenizer, smiles):
    """Ids of a molecule as the model knows it: begin, what stands before it, its symbols."""
    start = open_prefix(tokenizer).start
    return [tokenizer.bos_id, *start, *tokenizer.from_smiles(smiles)], 1 + len(start)


def test_the_likelihood_of_what_is_generated_is_what_score_tells(run, opened, tmp_path):
    notation = opened[1].representation.notation
    made = chemscale.generate(run, 100, out=tmp_path / "made.csv", max_length=60, **QUIET)
    column = "written" if notation == "smiles" else "SELFIES"
    scored = chemscale.score(run, tmp_path / "made.csv", column=column, as_written=True, **QUIET)
    with open(made.out, newline="") as file:
        rows = list(csv.DictReader(file))
    told = scored.table.to_pylist()
    whole = [i for i, row in enumerate(rows) if row["valid"] == "1" and row["truncated"] == "0"]
    assert len(whole) > 20
    for i in whole:
        assert told[i]["nats"] == pytest.approx(float(rows[i]["nll"]), rel=1e-4)


def test_score_counts_the_molecule_behind_the_prefix(run, opened):
    model, tokenizer = opened
    found = chemscale.score(run, MOLECULES, **QUIET).table["nats"].to_pylist()
    for smiles, nats in zip(MOLECULES, found, strict=True):
        ids, first = behind(tokenizer, smiles)
        with torch.no_grad():
            chances = model.dense(torch.tensor([ids]))[0].log_softmax(-1)
        targets = [*ids[first:], tokenizer.eos_id]
        expected = -sum(chances[first - 1 + k, each].item() for k, each in enumerate(targets))
        assert nats == pytest.approx(expected, rel=1e-4)


def test_an_embedding_is_the_state_behind_the_prefix(run, opened):
    theirs = AutoModelForCausalLM.from_pretrained(run)
    matrix = chemscale.embed(run, MOLECULES, **QUIET).matrix()
    last = chemscale.embed(run, MOLECULES, pooling="last", **QUIET).matrix()
    for smiles, mean, end in zip(MOLECULES, matrix, last, strict=True):
        ids, first = behind(opened[1], smiles)
        with torch.no_grad():
            states = theirs(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
        np.testing.assert_allclose(mean, states[first:].mean(0), atol=2e-5)
        np.testing.assert_allclose(end, states[-1], atol=2e-5)
    embedding = ChemGPTEmbedding(run, device="cpu").fit_transform(MOLECULES)
    np.testing.assert_allclose(embedding, matrix, atol=1e-6)


def test_what_is_drawn_is_made_of_symbols_alone(run, opened, tmp_path):
    model, tokenizer = opened
    opening = open_prefix(tokenizer)
    symbols = {i for i in range(tokenizer.vocab_size) if tokenizer.token(i) in tokenizer.symbols}
    how, begin = Sampling(max_length=12), {"start": opening.start, "banned": opening.banned}
    (expected,) = sample(model, 24, how, seed=shard_seed(3, 0), batch=24, **begin)
    assert {i for ids in expected for i in ids} <= symbols | {tokenizer.eos_id}
    judged = draw_samples(run, Draws(24, 3, 24, 12), tmp_path / "drawn", device="cpu", silent=True)
    assert [each.text for each in judged.drawn] == [tokenizer.decode(ids) for ids in expected]
    steered = draw(model, tokenizer, 24, how, opening=opening, seed=0, step=1)
    assert {i for each in steered for i in each.ids} <= symbols | {tokenizer.eos_id}
    made = chemscale.generate(run, 24, max_length=12, **QUIET).table
    assert (
        MoleculeGenerator(run, device="cpu").generate(4)
        == (chemscale.generate(run, 256, **QUIET).table["SMILES"].to_pylist()[:4])
    )
    assert not any("<" in text or "##" in text for text in made.column(1).to_pylist())


def test_a_model_is_steered_from_where_it_is_and_stays_of_its_kind(run, opened, tmp_path):
    model, tokenizer = opened
    options = {"budget": 12, "batch": 12, "max_length": 12, "diversity": "none", "replay": 0}
    done = chemscale.optimise(run, lambda smiles: 0.5, tmp_path / "steered", steps=1, **options, **QUIET)
    opening = open_prefix(tokenizer)
    drawn = draw(model, tokenizer, 12, Sampling(max_length=12), opening=opening, seed=0, step=1)
    nats = sequence_nll(model, [each.ids for each in drawn], start=opening.start).mean().item()
    with open(tmp_path / "steered/steps.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["prior_nats"]) == pytest.approx(nats, rel=1e-5)
    assert done.calls == len({each.smiles for each in drawn if each.smiles})
    agent, kept = load_trained(tmp_path / "steered/model", "cpu")
    assert kept.hash == tokenizer.hash
    before, after = model.state_dict(), agent.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_a_probe_reads_every_kind_of_model(run, tmp_path):
    lines = [f"{s},{len(s)}.5" for s in (*MOLECULES, *("C" * n + "N" for n in range(5, 20)))]
    (tmp_path / "labels.csv").write_text("\n".join(["smiles,y", *lines, ""]))
    options = {"split": "random", "seeds": 1, "bootstrap": 20, "out": tmp_path}
    tuning = FineTuning(epochs=1)
    found = chemscale.probe(run, tmp_path / "labels.csv", fine_tune=tuning, **options, **QUIET)
    assert found.data["used"] == len(lines)
    assert np.isfinite([found.of(name).value for name in ("embedding", "morgan", "fine-tuned")]).all()


@pytest.mark.slow
def test_weights_of_a_training_are_judged_behind_the_prefix(kinds, corpus, tmp_path):
    run = kinds["conditioned"]
    model, tokenizer = load_trained(run, "cpu")
    opening = open_prefix(tokenizer)
    found = judge_weights(Task(str(run), str(corpus.path), None, 20, 0, 12))
    (expected,) = sample(
        model, 20, Sampling(max_length=12), seed=0, batch=20, start=opening.start, banned=opening.banned
    )
    truncated = sum(ids[-1] != tokenizer.eos_id for ids in expected)
    assert found["fates"]["truncated"] == truncated


def test_an_exact_gpt2_of_a_conditioned_model_never_draws_what_is_no_symbol(kinds, tmp_path):
    done = chemscale.export(kinds["conditioned"], tmp_path / "gpt2", form="gpt2")
    _, tokenizer = load_trained(kinds["conditioned"], "cpu")
    never = AutoModelForCausalLM.from_pretrained(done.folder).generation_config.suppress_tokens
    assert set(never) == {tokenizer.pad_id, tokenizer.bos_id, *open_prefix(tokenizer).banned}


def test_functions_that_show_progress_say_so_alike():
    shown = {
        name for name in chemscale.FUNCTIONS if name not in ("fetch", "prepare", "train", "fit", "export")
    }
    for name in shown:
        parameter = inspect.signature(getattr(chemscale, name)).parameters["progress"]
        assert (parameter.default, parameter.annotation) == (True, "bool")
