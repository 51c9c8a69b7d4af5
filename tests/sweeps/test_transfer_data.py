"""``+sweep=transfer_data`` trains a parent, and models from it and from fresh weights on the same frames."""

import subprocess

import pytest

from chemscale.analysis.records_to_points import families_of
from chemscale.records import State, find_records
from tests.helpers.preloaded import python

pytestmark = pytest.mark.slow
SMALL = ("model.width=4", "model.layers=1", "trainer.accelerator=cpu", "trainer.threads=1", "logger=jsonl")


def test_each_number_of_frames_is_learned_with_and_without_the_parent(tmp_path):
    sizes = (20, 40, 80)
    command = [
        *(python(), "-m", "chemscale.train", "+sweep=transfer_data", *SMALL),
        *(
            "variables.parent_frames=96",
            "variables.parent_steps=6",
            "data.count=96",
            "data.prepare_workers=1",
        ),
        *("budget.steps=4", "trainer.validate_every=4", f"data.frames={','.join(map(str, sizes))}"),
    ]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (parent,) = [record for _, record in find_records(tmp_path / "runs" / "transfer_data_parent")]
    found = list(find_records(tmp_path / "runs" / "transfer_data"))
    assert {record.state for _, record in found} == {parent.state} == {State.DONE}
    families = families_of(found)
    assert sorted(set(families)) == ["painn", "painn from parent"]
    for family in set(families):
        frames = [r.data.unique_frames for (_, r), f in zip(found, families, strict=True) if f == family]
        assert sorted(frames) == list(sizes)
    tuned = [record for _, record in found if record.parent]
    assert {record.parent["identity"] for record in tuned} == {parent.identity}
    assert parent.config["data"]["method"] == "GFN1-xTB" != tuned[0].config["data"]["method"]
    assert list((tmp_path / "runs" / "transfer_data").rglob("law.json"))
