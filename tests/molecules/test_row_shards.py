"""Tables of shards continue, and refuse what is not theirs."""

import pytest

from chemscale.molecules.row_shards import RowShards, ShardError


def test_a_table_goes_on_behind_its_last_whole_shard(tmp_path):
    first = RowShards.open(tmp_path / "t", {"n": 4})
    first.write({"x": [1, 2]})
    (tmp_path / "t" / "part-000001.parquet.part").write_text("half")
    again = RowShards.open(tmp_path / "t", {"n": 4})
    assert (again.done, again.rows) == (1, 2)
    again.write({"x": [3, 4]})
    assert [table["x"].to_pylist() for table in again.read()] == [[1, 2], [3, 4]]


def test_another_request_is_refused_by_what_differs(tmp_path):
    RowShards.open(tmp_path / "t", {"n": 4, "seed": 0})
    with pytest.raises(ShardError, match="seed differ"):
        RowShards.open(tmp_path / "t", {"n": 4, "seed": 1})


@pytest.mark.parametrize("content", ["{", "notes"])
def test_a_folder_of_other_things_is_left_alone(tmp_path, content):
    (tmp_path / ("request.json" if content == "{" else "notes.txt")).write_text(content)
    with pytest.raises(ShardError, match="another"):
        RowShards.open(tmp_path, {})
