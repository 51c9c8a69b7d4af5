"""Steps that are left out on several ranks, by whoever decides: the same run."""

import pytest

from tests.helpers.sick_rank import SPOILT
from tests.helpers.two_ranks import run_two_ranks

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_ranks_leave_the_same_steps_out_whether_the_host_or_the_optimizers_kernel_decides(
    tmp_path, smiles_file, strategy
):
    runs = {}
    for decides in ("host", "device"):
        folder = tmp_path / decides
        folder.mkdir()
        runs[decides] = run_two_ranks(folder, "tests.helpers.sick_rank", str(smiles_file), strategy, decides)
    assert runs["host"] == runs["device"]
    assert runs["device"][0] == len(SPOILT)
