"""Points, who they are, and how a sweep is made of them."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from chemscale.launchers.settings import PointJob
from chemscale.records import PointPlan
from chemscale.sweeps.expansion import SweepError, expand
from chemscale.sweeps.identity import identity
from chemscale.sweeps.sweeper import check_distinct

CONFIG = {
    "seed": 0,
    "runs": "runs",
    "model": {"width": 16},
    "data": {"path": "a.smi", "molecules": None, "workers": 0},
    "trainer": {"precision": "32", "threads": None},
}


def changed(section, key, value):
    return CONFIG | {section: CONFIG[section] | {key: value}}


def test_what_cannot_change_the_result_is_not_part_of_the_identity():
    same = [
        CONFIG | {"runs": "elsewhere"},
        changed("data", "path", "b.smi"),
        changed("trainer", "threads", 4),
    ]
    assert {identity(c, "h") for c in [CONFIG, *same]} == {identity(CONFIG, "h")}


def test_what_can_change_the_result_is():
    other = [CONFIG | {"seed": 1}, changed("model", "width", 32), changed("data", "molecules", 10)]
    assert len({identity(c, "h") for c in [CONFIG, *other]} | {identity(CONFIG, "other data")}) == 5


def test_axes_multiply_and_the_command_line_wins():
    axes = {"model.width": [16, 32], "seed": [0, 1]}
    assert len(expand(["a=1"], axes, [])) == 4
    assert expand([], {"model.width": [16, 32]}, []) == [["model.width=16"], ["model.width=32"]]
    assert expand(["model.width=64,128"], {"model.width": [16, 32]}, []) == [
        ["model.width=64"],
        ["model.width=128"],
    ]
    assert expand(["model.width=64"], axes, []) == [
        ["model.width=64", "seed=0"],
        ["model.width=64", "seed=1"],
    ]


def test_listed_points_go_together():
    points = [{"model.width": 16, "optimizer.lr": 0.1}, {"model.width": 32, "optimizer.lr": None}]
    assert expand(["seed=0,1"], {}, points) == [
        ["model.width=16", "optimizer.lr=0.1", "seed=0"],
        ["model.width=16", "optimizer.lr=0.1", "seed=1"],
        ["model.width=32", "optimizer.lr=null", "seed=0"],
        ["model.width=32", "optimizer.lr=null", "seed=1"],
    ]


def test_an_axis_without_values_and_a_point_that_is_no_mapping_are_refused():
    with pytest.raises(SweepError, match=r"axes\.seed"):
        expand([], {"seed": 3}, [])
    with pytest.raises(SweepError, match=r"points\[0\]"):
        expand([], {}, [5])


def test_two_points_never_share_a_directory():
    plan = PointPlan("id", Path("runs/x/id"), "n", 1, 1, 1, 1, 1)
    with pytest.raises(SweepError, match=r"a=1.*a=2.*same point"):
        check_distinct([PointJob(plan, {}, ["a=1"]), PointJob(plan, {}, ["a=2"])])


@pytest.mark.parametrize(
    "text",
    ["a=b", "x,y", "a[b", "]", " a", "it's", "a\\", "b\\'c", "", "{x", "choice(1,2)", 'q"=', "a:b", "plain"],
)
def test_a_value_of_a_sweep_file_reaches_the_point_as_it_is_written(text):
    parser = OverridesParser.create()
    ((alone,), (listed,)) = expand([], {"key": [text, [text, "z"]]}, [])
    value = parser.parse_override(alone).value()
    assert getattr(value, "text", value) == text
    assert not parser.parse_override(alone).is_sweep_override()
    assert [getattr(v, "text", v) for v in parser.parse_override(listed).value()] == [text, "z"]
