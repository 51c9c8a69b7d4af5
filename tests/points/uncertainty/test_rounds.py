"""Choices of active learning: nested, the same again, and blind to the labels of the pool."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from chemscale.common.sections import ConfigurationError
from chemscale.points.uncertainty.chosen import ChosenFrames
from chemscale.points.uncertainty.rounds import choose_frames
from chemscale.records import PointPlan, RunRecord
from chemscale.structures.store import FrameStore


def plans(sweep: Path) -> list[PointPlan]:
    folders = [p for p in sorted(sweep.iterdir()) if (p / "record.json").exists()]
    return [PointPlan(p.name, p, p.name, 0, 0, 0, 0, 0) for p in folders]


@pytest.fixture
def inputs(seeds: Path, tmp_path: Path):
    """Arguments that all choices of a test share."""
    members = plans(seeds / "runs/seeds")
    config = RunRecord.load(members[0].directory).config
    return {"config": config, "candidates": 20, "members": members, "folder": tmp_path / "lists", "repeat": 0}


def positions(path: Path) -> tuple[int, ...]:
    return ChosenFrames.load(path).positions


@pytest.mark.parametrize("method", ["random", "uncertain", "farthest"])
def test_a_round_keeps_the_frames_of_before_and_the_same_inputs_choose_again_alike(method, inputs):
    first = choose_frames(**inputs, method=method, labels=6, earlier=None)
    second = choose_frames(**inputs, method=method, labels=10, earlier=first)
    assert positions(second)[:6] == positions(first)
    assert len(set(positions(second))) == 10
    chosen = positions(second)
    second.unlink()
    again = choose_frames(**inputs, method=method, labels=10, earlier=first)
    assert again == second
    assert positions(again) == chosen


def test_methods_begin_alike_repetitions_do_not_and_what_they_choose_differs(inputs):
    firsts = {m: choose_frames(**inputs, method=m, labels=6, earlier=None) for m in ("random", "uncertain")}
    assert firsts["random"] == firsts["uncertain"]
    other = choose_frames(**inputs | {"repeat": 1}, method="random", labels=6, earlier=None)
    assert positions(other) != positions(firsts["random"])
    chosen = {
        m: positions(choose_frames(**inputs, method=m, labels=10, earlier=firsts["random"]))
        for m in ("random", "uncertain", "farthest")
    }
    assert len(set(chosen.values())) == 3


def test_labels_of_the_pool_do_not_enter_a_choice(inputs, tmp_path):
    """The same store with its labels shuffled: the committee chooses the same frames."""
    first = choose_frames(**inputs, method="uncertain", labels=6, earlier=None)
    second = choose_frames(**inputs, method="uncertain", labels=12, earlier=first)
    chosen = positions(second)
    structures = tmp_path / "structures"
    shutil.copytree(inputs["config"]["structures"], structures)
    (store,) = (p for p in structures.iterdir() if (p / "manifest.json").exists())
    for name in ("energies", "forces"):
        values = np.fromfile(store / name, "<f8")
        np.random.default_rng(0).permutation(values).tofile(store / name)
    assert not np.array_equal(
        FrameStore(store).energies(np.arange(40)),
        FrameStore(next(Path(inputs["config"]["structures"]).glob("*/manifest.json")).parent).energies(
            np.arange(40)
        ),
    )
    hidden = inputs | {"config": inputs["config"] | {"structures": str(structures)}}
    second.unlink()
    assert positions(choose_frames(**hidden, method="uncertain", labels=12, earlier=first)) == chosen


def test_the_file_says_how_it_was_made_and_other_members_make_another(inputs):
    first = choose_frames(**inputs, method="uncertain", labels=6, earlier=None)
    three = choose_frames(**inputs, method="uncertain", labels=9, earlier=first)
    two = choose_frames(
        **inputs | {"members": inputs["members"][:2]}, method="uncertain", labels=9, earlier=first
    )
    assert three != two
    about = json.loads(three.read_text())["about"]
    assert about["members"] == sorted(plan.identity for plan in inputs["members"])


def test_too_few_frames_falling_rounds_and_unknown_methods_are_refused(inputs):
    with pytest.raises(ConfigurationError, match="the pool has"):
        choose_frames(**inputs, method="random", labels=1000, earlier=None)
    first = choose_frames(**inputs, method="random", labels=6, earlier=None)
    with pytest.raises(ConfigurationError, match="rising"):
        choose_frames(**inputs, method="random", labels=6, earlier=first)
    with pytest.raises(ConfigurationError, match="is none of"):
        choose_frames(**inputs, method="best", labels=6, earlier=None)
    fewer = {**inputs["config"], "data": {**inputs["config"]["data"], "frames": 5}}
    with pytest.raises(ConfigurationError, match=r"data\.frames=5: .*Leave data\.frames out"):
        choose_frames(**inputs | {"config": fewer}, method="random", labels=6, earlier=None)
