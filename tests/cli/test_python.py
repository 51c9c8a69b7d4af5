"""The verbs are functions of the package, whatever else was imported."""

import importlib
import io
import sys

import pytest

import chemscale
from chemscale.cli.python import CommandError, prepare, train
from chemscale.fetching.errors import FetchError


@pytest.mark.parametrize("name", chemscale.FUNCTIONS)
def test_a_verb_is_a_documented_function_also_where_its_command_was_imported(name):
    command = importlib.import_module(f"chemscale.{name}")
    assert callable(command.main)
    function = getattr(chemscale, name)
    assert function.__name__.startswith(name)
    assert "Args:" in function.__doc__
    assert "Raises:" in function.__doc__


def test_tab_offers_the_verbs_and_another_name_is_no_attribute():
    assert set(chemscale.FUNCTIONS) <= set(dir(chemscale))
    with pytest.raises(AttributeError, match="trane"):
        chemscale.trane  # noqa: B018


def test_what_a_command_refuses_is_raised_and_what_it_printed_is_seen(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", cell := io.StringIO())
    with pytest.raises(CommandError, match="status 2"):
        train("model.widht=8")
    assert "model.width" in cell.getvalue()


def test_molecules_are_prepared_and_come_back_as_a_corpus(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.smi").write_text("".join(f"{'C' * n}O\n" for n in range(1, 41)))
    words = ("data=smiles", "data.path=mine.smi", "data.validation_fraction=0.2", "corpora=here")
    corpus = prepare(*words)
    assert corpus.path.parent.resolve() == tmp_path / "here"
    assert len(corpus.train) + len(corpus.validation) == 40
    assert prepare(*words).hash == corpus.hash
    with pytest.raises(CommandError, match="status 2"):
        prepare("data=smiles", "data.path=none.smi")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("data=smiles", "data.path=mine.smi", "launcher=slurm"), r"launcher\.wait=true"),
        (("data=structures", "data.path=mine.xyz", "lint=only"), "lint=only prepares nothing"),
    ],
)
def test_what_leaves_nothing_to_open_is_refused_and_not_prepared_here(words, why, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError, match=why):
        prepare(*words)
    assert list(tmp_path.iterdir()) == []


def test_a_set_of_a_registry_of_ones_own_is_fetched(tmp_path):
    (tmp_path / "mine.smi").write_text("CCO\n")
    (tmp_path / "sets.yaml").write_text(
        "schema: 1\nsets:\n  mine:\n    kind: molecules\n    about: a\n    licence: b\n    citation: c\n"
        "    homepage: https://example.org\n    sources: d\n    use: data=smiles\n"
        "    files:\n      - {path: one.smi, mirrors: [file:mine.smi]}\n"
    )
    found = chemscale.fetch("mine", data=tmp_path / "data", registry=tmp_path / "sets.yaml")
    assert [path.read_text() for path in found] == ["CCO\n"]
    with pytest.raises(FetchError, match=r"has no such file, but one\.smi"):
        chemscale.fetch("mine", only="two", data=tmp_path / "data", registry=tmp_path / "sets.yaml")
