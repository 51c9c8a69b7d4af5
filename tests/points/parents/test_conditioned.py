"""A point that begins from a model of conditions has its conditions, with its bins."""

import pytest

from chemscale.molecules.loading import load_trained
from chemscale.molecules.preparation.conditions.request import ConditionValueError
from chemscale.molecules.tokenizers.notation import TokenizerError
from chemscale.points.run import train_point
from tests.helpers.points import point_in

SHORT = ("budget.steps=2", "trainer.validate_every=2", "model.layers=2", "data.condition_bins=3")


@pytest.fixture(scope="module")
def files(tmp_path_factory, smiles):
    made = tmp_path_factory.mktemp("conditioned parents")
    (made / "first.smi").write_text("".join(f"{s}\n" for s in smiles[:200] if "Cl" not in s))
    (made / "second.smi").write_text("".join(f"{s}\n" for s in smiles[150:300]))
    return made


@pytest.fixture(scope="module")
def parent(files):
    point = point_in(files, files / "first.smi", *SHORT, "data.condition=[rings]")
    train_point(point, [])
    return point.directory


def begun(files, parent, *more):
    return point_in(files, files / "second.smi", *SHORT, f"model.from={parent}", *more)


def test_its_conditions_are_taken_and_kept(files, parent):
    point = begun(files, parent)
    tokenizer = load_trained(parent, "cpu")[1]
    assert point.corpus.tokenizer == tokenizer
    train_point(point, [])
    assert load_trained(point.directory, "cpu")[1].conditions == tokenizer.conditions


def test_other_conditions_are_refused_in_a_sentence(files, parent):
    with pytest.raises(ConditionValueError, match=r"has the conditions \[rings\], with its own bins"):
        begun(files, parent, "data.condition=[logP]")


def test_its_vocabulary_does_not_grow_since_its_conditions_stand_behind_it(files, parent):
    with pytest.raises(TokenizerError, match=r"is one with conditions and cannot take .*new_symbols=drop"):
        begun(files, parent, "model.new_symbols=grow")


def test_a_model_without_conditions_learns_some_and_new_symbols_too(files):
    plain = point_in(files, files / "first.smi", *SHORT[:-1])
    train_point(plain, [])
    point = begun(files, plain.directory, "data.condition=[rings]", "model.new_symbols=grow")
    tokenizer = point.corpus.tokenizer
    assert tokenizer.conditions.names == ("rings",)
    assert tokenizer.base.symbols[: len(plain.corpus.tokenizer.symbols)] == plain.corpus.tokenizer.symbols
    assert tokenizer.symbol_id("[Cl]") is not None
    assert plain.corpus.tokenizer.symbol_id("[Cl]") is None
    train_point(point, [])
    assert load_trained(point.directory, "cpu")[1] == tokenizer
