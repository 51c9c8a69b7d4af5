"""An argument that Hydra cannot read is answered with how to write it."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from chemscale.cli.overrides import explain_override, quoted

PATHS = [
    *(
        "a(b).smi",
        "a=b.smi",
        "a,b.smi",
        "a[b].smi",
        "a#b.smi",
        "{a}.smi",
        "a;b.smi",
        "ä&b!c@d.smi",
        "a b.smi",
    ),
    *("a'b.smi", 'a"b.smi', "a'\"$b.smi", "a\\b.smi", "a'b\\", "2023"),
]


@pytest.mark.parametrize("path", PATHS)
def test_the_quotes_that_are_advised_give_the_path_back_through_shell_and_hydra(path):
    (argument,) = shlex.split(quoted(f"data.path={path}"))
    override = OverridesParser.create().parse_override(argument)
    assert (override.key_or_group, override.value()) == ("data.path", path)


@pytest.mark.parametrize("path", ["a(b).smi", "a=b.smi", "a[b].smi", "a#b.smi", "a'b.smi", "{a}.smi"])
def test_a_path_that_hydra_cannot_read_is_answered_with_its_quotes(path):
    argument = f"data.path={path}"
    with pytest.raises(HydraException) as refused:
        OverridesParser.create().parse_overrides(["data=smiles", argument])
    text = explain_override(str(refused.value), ["data=smiles", argument])
    assert text.startswith(f"{argument}: a value that holds one of")
    assert text.endswith(quoted(argument))


def test_other_arguments_that_hydra_refuses_are_named():
    comma = "Ambiguous value for argument 'data.path=a,b'\n1. To use it as a list, …"
    assert quoted("data.path=a,b") in explain_override(comma, ["data.path=a,b"])
    group = "Config group override must be a string or a list. Got NoneType"
    assert explain_override(group, ["seed=1", "model=null"]).startswith("model=null: one of its options")
    taken = "Could not override 'model.width'."
    assert explain_override(taken, ["~model", "model.width=8"]).startswith("~model: model can be changed")
    assert explain_override(taken, ["model.widht=8"]) == ""
    assert explain_override("Error parsing override 'x'\nmissing EQUAL at '<EOF>'", ["x"]).startswith(
        "x: give"
    )


def test_a_sweep_that_cannot_be_composed_is_not_taken_for_a_comma():
    comma = "Ambiguous value for argument 'optimizer.lr=1e-3,2e-3'"
    other = ["+sweep=chemgpt_hparams", "hydra/sweeper=chemscale", "optimizer.lr=1e-3,2e-3", "seed=1,2"]
    text = explain_override(comma, other)
    assert text.startswith("The sweep cannot be composed")
    assert "'rule'" in text
    assert "a comma lists the values" in explain_override(comma, ["+sweep=chemgpt_hparams", other[2]])
