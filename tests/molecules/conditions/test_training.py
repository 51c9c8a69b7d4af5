"""Training on conditions: the loss is that of the molecule, dropout a function of seed, epoch, molecule."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.molecules.batches import IGNORED, ValidationBatches, packed_batch
from chemscale.molecules.conditions import banned_ids, prefix_ids
from chemscale.molecules.conditions.achieved import achieved
from chemscale.molecules.conditions.prefixes import Dropout
from chemscale.molecules.data_module import BatchShape, MoleculeDataModule
from chemscale.molecules.generation.decoding import decode
from chemscale.molecules.generation.drawing import Batch
from chemscale.molecules.generation.sampling import Sampling, sample, sample_batch
from chemscale.molecules.likelihood import sequence_nll
from chemscale.molecules.loading import load_trained, save_trained
from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.preparation.conditions.request import ConditionRequest
from chemscale.tasks.language_model import LanguageModel


def tiny(corpus, width=16, **options):
    torch.manual_seed(0)
    config = ChemGPTConfig(corpus.tokenizer.vocab_size, width, layers=2, heads=4, **options)
    return ChemGPT(config)


def one(split, index):
    ids, _ = split.prefixes.gather(np.array([index]))
    return ids.tolist(), split.tokens(index).tolist()


def test_a_batch_reads_prefixes_and_predicts_molecules(conditioned):
    split, tokenizer = conditioned.train, conditioned.tokenizer
    ids = {"bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id}
    batch = packed_batch(split, np.array([3, 8]), slots=400, step_tokens=1, filled=True, **ids)
    at = 0
    for index in (3, 8):
        prefix, molecule = one(split, index)
        end = at + 1 + len(prefix) + len(molecule)
        assert batch.tokens[at:end].tolist() == [tokenizer.bos_id, *prefix, *molecule]
        assert batch.targets[at:end].tolist() == [*[IGNORED] * len(prefix), *molecule, tokenizer.eos_id]
        at = end
    counted = (batch.targets != IGNORED).sum().item()
    assert batch.predicted == batch.counts["tokens"] == counted == int(split.lengths[[3, 8]].sum()) + 2
    assert batch.given == batch.size - counted == int(split.prefixes.lengths[[3, 8]].sum())
    assert (batch.tokens.numel(), batch.slots) == (400, 400 - batch.given)


def test_the_loss_is_the_likelihood_of_molecules_given_their_conditions(conditioned):
    model, tokenizer = tiny(conditioned, initializer_range=0.3), conditioned.tokenizer
    batches = ValidationBatches(conditioned.validation, tokens=400, bos_id=1, eos_id=2)
    with torch.no_grad():
        packed = [LanguageModel.nll_of(model(b.tokens, b.positions, b.documents), b.targets) for b in batches]
        total = sum(float(part.sum()) for part in packed)
        alone, without = 0.0, 0.0
        for index in range(len(conditioned.validation)):
            prefix, molecule = one(conditioned.validation, index)
            whole = [[*molecule, tokenizer.eos_id]]
            alone += float(sequence_nll(model, whole, start=prefix))
            without += float(sequence_nll(model, whole))
    assert total == pytest.approx(alone, rel=1e-5)
    assert abs(total - without) > 1
    tokens = sum(b.predicted for b in batches)
    assert tokens == int(conditioned.validation.lengths.sum()) + len(conditioned.validation)


def module_of(corpus, accumulate=1, rate=0.3, seed=5):
    shape = BatchShape(1024, 256, accumulate)
    return MoleculeDataModule(corpus, shape, seed=seed, condition_dropout=rate)


def test_what_is_left_out_does_not_depend_on_ranks_and_micro_batches(conditioned):
    whole = module_of(conditioned).training_batches()
    parts = module_of(conditioned, accumulate=2)
    split = [parts.training_batches(rank, 2) for rank in (0, 1)]
    for step in (0, 40):
        expected = whole[step]
        found = [split[rank][2 * step + micro] for micro in (0, 1) for rank in (0, 1)]
        assert [t for part in found for t in part.tokens.tolist()] == expected.tokens.tolist()
        assert {part.step_tokens for part in found} == {expected.predicted}
    other = module_of(conditioned, seed=6).training_batches()[0]
    assert other.tokens.tolist() != whole[0].tokens.tolist()


def test_conditions_are_left_out_as_often_as_asked_and_otherwise_in_each_epoch():
    molecules = np.arange(20_000)
    first, second = (Dropout(0.1, 0).left_out(np.full(20_000, e), molecules, 2) for e in (0, 1))
    both = first.all(axis=1)
    assert both.mean() == pytest.approx(0.1 + 0.9 * 0.5 / 4, abs=0.01)  # three standard deviations are 0.009
    assert (first[:, 0] & ~both).mean() == pytest.approx(0.9 * 0.5 / 4, abs=0.01)
    assert (both & second.all(axis=1)).mean() == pytest.approx(both.mean() ** 2, abs=0.01)
    single = Dropout(0.1, 0).left_out(np.zeros(20_000, dtype=np.int64), molecules, 1)
    assert single.mean() == pytest.approx(0.1, abs=0.01)
    assert not Dropout(0.0, 0).left_out(np.zeros(9), np.arange(9), 2).any()


def test_a_condition_that_is_left_out_is_the_token_for_what_is_not_known(conditioned):
    split, tokenizer = conditioned.train, conditioned.tokenizer
    left_out = np.array([[True, False, False], [False, True, True], [True, True, True], [False] * 3])
    members = np.array([0, 1, 2, 3])
    ids, lengths = split.prefixes.gather(members, left_out)
    rows = np.split(ids, np.cumsum(lengths)[:-1])
    unknown = prefix_ids(tokenizer, {})
    for row, index, (rings, logp, scaffold) in zip(rows, members, left_out.tolist(), strict=True):
        before, _ = one(split, int(index))
        expected = [unknown[0] if rings else before[0], unknown[1] if logp else before[1]]
        assert row.tolist() == [*expected, *([unknown[2]] if scaffold else before[2:])]


@pytest.fixture(scope="module")
def folder(conditioned, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    model = tiny(conditioned, initializer_range=0.3)
    save_trained(model, conditioned.tokenizer, path, name="given", block=256)
    return path


def test_sampling_begins_with_the_prefix_and_draws_no_token_of_conditions(folder):
    model, tokenizer = load_trained(folder, "cpu")
    banned = banned_ids(tokenizer)
    start = prefix_ids(tokenizer, {"rings": 1, "scaffold": "c1ccccc1"})
    how = Sampling(top_k=1, max_length=12)
    drawn = sample_batch(model, 3, how, torch.Generator().manual_seed(0), start=start, banned=banned)
    expected = [model.config.bos_id, *start]
    for _ in range(12):
        with torch.no_grad():
            logits = model.dense(torch.tensor([expected]))[0, -1]
        logits[[model.config.pad_id, model.config.bos_id, *banned]] = -torch.inf
        expected.append(int(logits.argmax()))
        if expected[-1] == model.config.eos_id:
            break
    assert drawn == [expected[1 + len(start) :]] * 3
    with pytest.raises(ValueError, match="leaves no room"):
        sample_batch(model, 1, how, torch.Generator(), start=[4] * model.config.max_positions)


def test_transformers_generates_from_the_saved_folder_what_we_do(folder):
    ours, tokenizer = load_trained(folder, "cpu")
    model, theirs = (kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer))
    start = prefix_ids(tokenizer, {"rings": 1, "scaffold": "c1ccccc1"})
    prompt = theirs("".join(map(tokenizer.token, start)), return_tensors="pt").input_ids[:, :-1]
    out = model.generate(prompt, do_sample=False, max_new_tokens=12)
    drawn = sample_batch(
        ours,
        1,
        Sampling(top_k=1, max_length=12),
        torch.Generator(),
        start=start,
        banned=banned_ids(tokenizer),
    )
    assert out[0, prompt.shape[1] :].tolist() == drawn[0]
    never = json.loads((folder / "generation_config.json").read_text())["suppress_tokens"]
    assert never == [tokenizer.pad_id, tokenizer.bos_id, *banned_ids(tokenizer)]
    assert "| rings | `<rings:?>`" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_molecules_become_what_was_asked_for(smiles_file, tmp_path):
    request = ConditionRequest(("heavy_atoms",), 3)
    corpus = build_corpus([smiles_file], tmp_path, workers=1, conditions=request)
    batches = module_of(corpus, rate=0.1).training_batches()
    model, tokenizer = tiny(corpus, width=32), corpus.tokenizer
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(250):
        batch = batches[step]
        logits = model(batch.tokens, batch.positions, batch.documents)
        optimizer.zero_grad()
        (LanguageModel.nll_of(logits, batch.targets).sum() / batch.step_tokens).backward()
        optimizer.step()
    means = []
    for asked in (10, 40):
        smiles: list[str] = []
        start, banned = prefix_ids(tokenizer, {"heavy_atoms": asked}), banned_ids(tokenizer)
        how = Sampling(max_length=120)
        for part in sample(model.eval(), 100, how, seed=0, start=start, banned=banned):
            smiles += [row.smiles for row in decode(tokenizer, Batch(part, [0.0] * len(part))) if row.valid]
        (about,) = achieved(tokenizer, {"heavy_atoms": asked}, smiles)
        means.append(about.mean)
    assert means[0] + 5 < means[1], means
