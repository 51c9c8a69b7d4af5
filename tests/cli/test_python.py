"""The verbs are functions of the package, whatever else was imported."""

import importlib
import io
import sys

import pytest

import chemscale
from chemscale.cli.python import CommandError, train


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
