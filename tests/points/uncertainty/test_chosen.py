"""A list of training frames decides what a run learns from and what it is called, wherever the list lies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from chemscale.common.sections import ConfigurationError
from chemscale.points.uncertainty.chosen import ChosenFrames
from chemscale.structures.data_module import SubsetError
from tests.helpers.points import potential_in


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chosen")


@pytest.fixture(scope="module")
def whole(folder: Path):
    """A point without a selection."""
    return potential_in(folder)


def listed(folder: Path, whole, positions: list[int], name: str = "chosen.json", store: str = "") -> Path:
    ChosenFrames(store or whole.store.hash, tuple(positions), {"why": name}).save(folder / name)
    return folder / name


def test_a_run_learns_from_the_frames_that_are_listed_and_from_no_other(folder, whole):
    positions = [9, 2, 5, 20]
    point = potential_in(folder, f"data.selection={listed(folder, whole, positions)}")
    assert point.data.train.tolist() == whole.store.part("train")[positions].tolist()
    for place, position in enumerate(positions):
        one = point.data.train_edges.attach(point.store.structure(int(point.data.train[place])), place)
        other = whole.data.train_edges.attach(
            whole.store.structure(int(whole.data.train[position])), position
        )
        assert np.array_equal(one.edges, other.edges)
        assert point.data.train_edges.counts[place] == whole.data.train_edges.counts[position]
    assert point.name.endswith("-n4")
    assert point.identity != whole.identity
    assert point.data.validation.tolist() == whole.data.validation.tolist()


def test_the_identity_is_of_what_is_listed_and_not_of_the_file(folder, whole):
    one = potential_in(folder, f"data.selection={listed(folder, whole, [1, 2, 3])}")
    again = potential_in(folder, f"data.selection={listed(folder, whole, [1, 2, 3], 'other.json')}")
    other = potential_in(folder, f"data.selection={listed(folder, whole, [1, 2, 4], 'third.json')}")
    assert one.identity == again.identity
    assert one.identity != other.identity
    assert one.config["data"]["selected"] == ChosenFrames.load(folder / "chosen.json").sha256


def test_frames_takes_the_first_of_a_selection(folder, whole):
    path = listed(folder, whole, [7, 3, 8])
    point = potential_in(folder, f"data.selection={path}", "data.frames=2")
    assert point.data.train.tolist() == whole.store.part("train")[[7, 3]].tolist()
    with pytest.raises(SubsetError, match="the selection has 3"):
        potential_in(folder, f"data.selection={path}", "data.frames=4")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read"),
        ("no json", "no list of training frames"),
        ('{"schema_version": 9, "store": "a", "positions": [1], "about": {}}', "schema version 9"),
        ('{"schema_version": 1, "store": "a", "positions": [1, 1], "about": {}}', "one twice"),
        ('{"schema_version": 1, "store": "a", "positions": [1], "about": {}}', "another store"),
    ],
)
def test_a_list_that_is_none_is_refused(folder, whole, content, why, tmp_path):
    path = tmp_path / "list.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=why):
        potential_in(folder, f"data.selection={path}")


def test_a_list_that_changed_since_the_run_was_planned_is_refused(folder, whole):
    path = listed(folder, whole, [1, 2], "changing.json")
    planned = ChosenFrames.load(path).sha256
    potential_in(folder, f"data.selection={path}", f"data.selected={planned}")
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(raw | {"positions": [1, 3]}))
    with pytest.raises(ConfigurationError, match="other frames than when"):
        potential_in(folder, f"data.selection={path}", f"data.selected={planned}")
    with pytest.raises(ConfigurationError, match="name that"):
        potential_in(folder, f"data.selected={planned}")
