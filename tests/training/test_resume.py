"""A run that is killed between its last checkpoint and its last word says the same of itself afterwards."""

from chemscale.points.run import fit, open_record
from chemscale.records import RunRecord, State
from tests.helpers.points import point_in


def test_a_run_that_resumes_at_its_end_leaves_the_same_record(tmp_path, smiles_file):
    point = point_in(tmp_path, smiles_file)
    fit(point, open_record(point, []))
    first = RunRecord.load(point.directory)
    again = open_record(point, [])
    again.state = State.RUNNING
    fit(point, again)
    second = RunRecord.load(point.directory)
    assert second.state is State.DONE
    assert (second.data, second.final, second.best) == (first.data, first.final, first.best)
    assert second.checkpoint == first.checkpoint
    assert second.compute.flops == first.compute.flops
