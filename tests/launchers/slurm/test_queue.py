"""What accounting says of jobs."""

from chemscale.launchers.slurm.queue import parse_accounting


def test_elements_of_an_array_that_never_began_are_told_apart():
    found = parse_accounting("7_[1-3,6%2]|CANCELLED by 1000|0:0|None assigned\n7_0|COMPLETED|0:0|node1\n")
    assert {job: state.state for job, state in found.items()} == {
        **{f"7_{n}": "CANCELLED" for n in (1, 2, 3, 6)},
        "7_0": "COMPLETED",
    }
