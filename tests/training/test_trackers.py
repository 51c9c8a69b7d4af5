"""Metrics on a disk that is full for a while: rows wait, and none is lost, halved or doubled."""

import json
import resource

import pytest

from chemscale.training.trackers import JsonLines


def test_rows_wait_for_a_full_disk_and_come_in_order(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    tracker = JsonLines(path, 0)
    tracker.log({"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        for step in (2, 3):
            tracker.log({"step": step})
        with pytest.raises(OSError, match="2 rows could not be written"):
            tracker.flush()
        assert path.read_text() == '{"step": 1}\n'
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    tracker.log({"step": 4})
    tracker.finish({})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3, 4]
    assert caplog.text.count("rows wait in memory") == 1
