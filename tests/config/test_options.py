"""Every key of the shipped configuration has a type and a meaning, and is read by the code."""

import ast
from dataclasses import fields

import pytest

from chemscale.config.check import OVERRIDE_GROUPS
from chemscale.config.options import KINDS, Key, groups, option, read_option, split_comment
from chemscale.launchers.slurm.resources import Site
from chemscale.models.potentials import CONFIGS
from tests.helpers.paths import ROOT

OPTIONS = [("", "train"), ("", "prepare")] + [
    (group, name) for group, names in groups().items() for name in names
]


OWNED = [(group, name) for group, name in OPTIONS if group not in OVERRIDE_GROUPS]


def owned(group: str, name: str) -> list[Key]:
    """Keys of an option that no other group brings."""
    others = {*groups()} - {group}
    keys = [key for key in option(group, name).keys.values() if not key.name.startswith("site.extra.")]
    return [k for k in keys if k.name.split(".")[0] not in others and not k.name.endswith("._target_")]


@pytest.mark.parametrize(("group", "name"), OWNED)
def test_every_key_has_a_type_and_a_meaning(group, name):
    for key in owned(group, name):
        assert key.meaning, f"{group}/{name}.yaml: {key.name} does not say what it means"
        assert key.kind, f"{group}/{name}.yaml: {key.name} has no type: write `int: …` before its meaning"
        if "null" in key.kind.split(" | "):
            assert "null: " in key.meaning, f"{key.name} does not say what null means"


def test_types_in_comments_are_told_from_sentences():
    assert split_comment("int: train on so many; null: all") == ("int", "train on so many; null: all")
    assert split_comment("keep | strip: stereochemistry") == ("keep | strip", "stereochemistry")
    assert split_comment("huber: eV and eV/Å") == ("", "huber: eV and eV/Å")
    assert split_comment("steps of linear warm-up") == ("", "steps of linear warm-up")
    assert "int" in KINDS


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_what_a_file_sets_again_is_a_key_of_the_group_that_brings_it(group, name):
    brought = {key for other in OWNED for key in option(*other).keys}
    free = {key for key in option(group, name).own if "site.extra" in key or key.startswith("variables.")}
    assert set(option(group, name).own) <= brought | free


def words_of_the_code() -> set[str]:
    """Every text and attribute of the package, comments and docstrings left out."""
    found: set[str] = set()
    for path in (ROOT / "chemscale").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)  # a field of a dataclass
            elif isinstance(node, ast.arg):
                found.add(node.arg)  # of a tracker
    return found


def dead(keys: list[Key], words: set[str]) -> list[str]:
    return [key.name for key in keys if not {key.name, key.name.rsplit(".", 1)[-1]} & words]


def test_every_key_is_read_by_the_code():
    words = words_of_the_code()
    assert dead([key for group, name in OWNED for key in owned(group, name)], words) == []
    assert dead([Key("trainer.gradient_clipping", "1", "int", "")], words) == ["trainer.gradient_clipping"]


@pytest.mark.parametrize("family", ["chemgpt", *CONFIGS])
def test_a_models_file_has_the_keys_of_its_class(family):
    from chemscale.models.chemgpt import ChemGPTConfig
    from chemscale.points.parents.settings import PARENT, REPLAYED, LanguageTransfer, PotentialTransfer

    known = {field.name for field in fields({"chemgpt": ChemGPTConfig, **CONFIGS}[family])}
    keys = {n.split(".")[1] for n in option("model", family).keys if n.startswith("model.")}
    transfer = LanguageTransfer if family == "chemgpt" else PotentialTransfer
    begins = transfer.names() - {PARENT, REPLAYED}  # which nobody sets
    assert begins <= {key.split(".")[0] for key in keys} | {"lora"}
    keys -= begins
    assert keys - {"family"} <= known
    if family != "chemgpt":  # whose vocabulary comes from the tokenizer
        assert keys == known | {"family"}


def test_a_site_profile_has_the_keys_of_its_class():
    assert {n.partition(".")[2] for n in option("site", "none").keys} == {f.name for f in fields(Site)}


def test_keys_are_read_with_comments_over_two_lines_and_bases(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "# Mine.\n"
        "defaults:\n  - smiles\n\n"
        "salts: drop       # why\n"
        "more:             # a part\n"
        "  one: null       # int: begins here\n"
        "                  # and goes on; null: off\n"
        "  '#two': [1, 2]  # a list\n"
    )
    found = read_option(path, "data")
    assert found.about == "Mine."
    one = found.keys["data.more.one"]
    assert (one.kind, one.meaning) == ("int | null", "begins here and goes on; null: off")
    assert found.keys["data.more.#two"].default == "[1, 2]"
    assert found.keys["data.salts"].default == "drop"
    assert found.keys["data.salts"].meaning == option("data", "molecules").keys["data.salts"].meaning
