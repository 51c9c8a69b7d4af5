"""Every key of the configuration means something, is read, and a key that is not read is refused."""

import ast
import subprocess
import sys
from dataclasses import fields

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.config.keys import (
    KINDS,
    NOT_ROOTS,
    Key,
    UnknownKeyError,
    check_keys,
    explain,
    groups,
    option,
    read_option,
    split_comment,
)
from chemscale.launchers.slurm.resources import Site
from chemscale.models.potentials import CONFIGS, register
from chemscale.points.base import ConfigurationError
from chemscale.points.build import read_point
from chemscale.points.cost import plan_points
from chemscale.sweeps.identity import identity
from chemscale.training.trackers import TrackerError
from tests.helpers.paths import ROOT

OPTIONS = [("", "train"), ("", "prepare")] + [
    (group, name) for group, names in groups().items() for name in names
]
OWNED = [(group, name) for group, name in OPTIONS if group not in NOT_ROOTS]


def owned(group: str, name: str) -> list[Key]:
    """Keys of an option that no other group brings."""
    others = {*groups()} - {group}
    keys = [key for key in option(group, name).keys.values() if not key.name.startswith("site.extra.")]
    return [k for k in keys if k.name.split(".")[0] not in others and not k.name.endswith("._target_")]


def composed(*overrides: str):
    with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
        return compose("train", list(overrides))


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
    assert set(option(group, name).own) <= brought | {k for k in option(group, name).own if "site.extra" in k}


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

    known = {field.name for field in fields({"chemgpt": ChemGPTConfig, **CONFIGS}[family])}
    keys = {n.partition(".")[2] for n in option("model", family).keys if n.startswith("model.")}
    assert keys - {"family"} <= known
    if family != "chemgpt":  # whose vocabulary comes from the tokenizer
        assert keys == known | {"family"}


def test_a_site_profile_has_the_keys_of_its_class():
    assert {n.partition(".")[2] for n in option("site", "none").keys} == {f.name for f in fields(Site)}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["+model.wdith=3"], ["model.wdith", "Did you mean model.width (of the residual stream"]),
        (["+trainer.validate_evry=3"], ["trainer.validate_evry", "Did you mean trainer.validate_every"]),
        (["+width=3"], ["width", "Did you mean model.width"]),
        (["+trainer.foo=1"], ["trainer.foo", "trainer.clip", "trainer.health.skips"]),
        (["+budget.foo=1"], ["budget.foo", "budget.tokens"]),
        (["+logger.x=1"], ["logger.x"]),
        (["+anything=1"], ["anything", "below variables"]),
        (["+site.foo=1"], ["site.foo", "site.partition"]),
        (["+data.split_by=frame"], ["data.split_by", "data=starter_structures"]),
        (["+data.path=x"], ["data.path", "data=smiles"]),
        (["task=potential", "data=rmd17", "data.path=x", "+data.units.energi=eV"], ["data.units.energy"]),
        (["+launcher.gpu=a100"], ["launcher.gpu", "launcher=slurm has it"]),
        (["+ema=0.9"], ["ema"]),
        (["+batch.frames=8"], ["batch.frames", "task=potential has it"]),
        (["task=potential", "+batch.tokens=8"], ["batch.tokens", "task=language has it"]),
        (["task=potential", "+model.heads=8"], ["model.heads", "model=chemgpt"]),
        (["schedule=plateau", "+schedule.warmup=8"], ["schedule.warmup", "schedule=wsd"]),
    ],
)  # fmt: skip
def test_a_key_that_nothing_reads_is_refused_with_the_nearest_that_are_read(overrides, words):
    with pytest.raises(UnknownKeyError) as refused:
        check_keys(composed(*overrides))
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(("group", "name"), [o for o in OPTIONS if o[0] not in ("", "site")])
def test_everything_that_is_shipped_is_accepted(group, name):
    plus = "+" if group in NOT_ROOTS else ""
    potential = group == "model" and not name.startswith("chemgpt")
    potential |= group == "data" and option(group, name).keys.keys() >= {"data.frames"}
    potential |= name == "plateau"
    task = ["task=potential"] if potential else []
    path = ["data.path=x"] if "data.path" in option(group, name).keys or group == "recipe" else []
    check_keys(composed(*task, f"{plus}{group}={name}", *path))


def test_what_is_open_stays_open():
    check_keys(composed("+site.extra.reservation=mine", "+variables.k=20", "budget.tokens=${variables.k}"))
    check_keys(composed("task=potential", "data.references={H: -13.6, C: -1029.0}"))
    check_keys(composed("+model.initializer_range=0.01", "+optimizer.amsgrad=true"))
    check_keys(composed("+logger.mine._target_=my.Tracker", "+logger.mine.anything=1"))


def test_variables_do_not_change_who_a_point_is():
    plain = OmegaConf.to_container(composed("budget.tokens=20"), resolve=True)
    through = composed("+variables.k=20", "budget.tokens=${variables.k}")
    assert identity(OmegaConf.to_container(through, resolve=True), "h") == identity(plain, "h")


def test_a_model_of_ones_own_has_the_keys_of_its_class(tmp_path, monkeypatch):
    from dataclasses import dataclass
    from typing import ClassVar

    @dataclass(frozen=True)
    class Mine:
        family: ClassVar[str] = "mine"
        width: int = 4
        sharpness: float = 1.0

    monkeypatch.setitem(CONFIGS, "mine", Mine)
    register(Mine)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "mine.yaml").write_text("family: mine\nwidth: 8\nsharpness: 2.0\n")
    searched = f"hydra.searchpath=[file://{tmp_path}]"
    check_keys(composed(searched, "task=potential", "model=mine"))
    with pytest.raises(UnknownKeyError, match=r"model\.sharpnes: .*model\.sharpness"):
        check_keys(composed(searched, "task=potential", "model=mine", "+model.sharpnes=1"))


def test_an_option_of_ones_own_may_set_any_key_and_no_other(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text("defaults: [smiles]\npath: mine.csv\nsalts: largest\n")
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "short.yaml").write_text("defaults: [default]\nlog_evry: 3\n")
    searched = f"hydra.searchpath=[file://{tmp_path}]"
    check_keys(composed(searched, "data=mine"))
    with pytest.raises(UnknownKeyError, match=r"trainer\.log_evry: .*trainer\.log_every"):
        check_keys(composed(searched, "trainer=short"))


def test_no_point_of_a_sweep_is_prepared_before_all_keys_are_checked(tmp_path):
    configs = [composed(f"corpora={tmp_path}"), composed(f"corpora={tmp_path}", "+trainer.foo=1")]
    with pytest.raises(UnknownKeyError, match=r"trainer\.foo"):
        plan_points(configs, [[], []], [])
    assert not list(tmp_path.iterdir())


def test_a_record_is_read_where_what_tracked_it_is_absent():
    config = composed("model.family=none", "+logger={mine: {_target_: not_installed.Tracker}}")
    with pytest.raises(TrackerError, match="not_installed"):
        read_point(config)
    with pytest.raises(ConfigurationError, match=r"model\.family"):  # what is looked at next
        read_point(config, recorded=True)


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


SWEEP = """\
# @package _global_
defaults:
  - override /hydra/sweeper: chemscale

sweep_name: mine
{more}
hydra:
  mode: MULTIRUN
  sweeper:
    axes: {{{axis}: [16, 32]}}
"""


@pytest.mark.parametrize(
    ("more", "axis", "words"),
    [
        ("", "model.wdith", "model.wdith: nothing reads a key of this name. Did you mean model.width"),
        ("trainer: {log_evry: 3}", "model.width", "Did you mean trainer.log_every"),
    ],
)
def test_a_slip_in_a_sweep_file_is_told_in_one_paragraph(tmp_path, more, axis, words):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(SWEEP.format(more=more, axis=axis))
    done = subprocess.run(
        [sys.executable, "-m", "chemscale.train", "--config-dir", ".", "+sweep=mine"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "corpora").exists()


def test_a_sweep_file_without_its_first_line_is_told_what_is_missing(tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text("sweep_name: mine\n")
    with pytest.raises(UnknownKeyError, match="begins with the line `# @package _global_`"):
        check_keys(composed(f"hydra.searchpath=[file://{tmp_path}]", "+sweep=mine"))


def test_a_key_that_no_configuration_has_is_explained_without_one():
    assert "Did you mean model" in explain("modle")
    assert "model.width" in explain("model.wdith")
