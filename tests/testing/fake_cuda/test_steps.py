"""Every model trains a step on a CUDA device that is not there: nothing on the wrong device, no needless
waiting, and no more operations, kernels and bytes than the table beside this file holds."""

from pathlib import Path

import pytest

from chemscale.testing.fake_cuda import table
from chemscale.testing.fake_cuda.cases import CASES
from chemscale.testing.fake_cuda.device import NoFakeDeviceError, build_library, run_cases

TABLE = Path(__file__).with_name("counts.json")
HOW = "python benchmarks/kernel_counts.py --write"
KINDS = (
    *("chemgpt-sweep-w16", "chemgpt-w128-bf16", "chemgpt-w128-recompute", "schnet", "painn", "painn-16"),
    *(
        "painn-crystals",
        "painn-accumulate",
        "painn-energies",
        "spookynet-physics",
        "nequip",
        "allegro-bf16",
        "mace",
    ),
)
"""Every architecture, precision and option once. What else the table holds differs from one of these in
sizes, or has options of two of them: ``kernel_counts.py`` counts it all, which takes four times as long."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    try:
        build_library()
    except NoFakeDeviceError as error:
        pytest.skip(str(error))
    return run_cases(KINDS, tmp_path_factory.mktemp("fake-cuda"))


@pytest.mark.parametrize("name", KINDS)
def test_a_training_step_runs_on_cuda_without_a_mismatch(reports, name):
    assert "error" not in reports[name], reports[name]["error"]
    assert reports[name]["kernels"] > 0


@pytest.mark.parametrize("name", KINDS)
def test_a_step_has_no_more_operations_kernels_and_bytes_than_before(reports, name):
    held = table.read(TABLE)
    if not held:
        pytest.skip(f"the table is of another torch than {table.torch_series()}")
    assert name in held, f"{name} is not in the table: {HOW}"
    assert "error" not in reports[name]
    assert table.exceeded(held[name], reports[name]) == [], f"where that is meant: {HOW}"


def test_the_table_holds_every_case():
    assert set(table.read(TABLE) or CASES) == set(CASES), HOW


def test_a_training_step_that_logs_nothing_never_waits_for_the_device(reports):
    held = table.read(TABLE)
    waits = {name: set(map(table.function_of, report.get("waits", ()))) for name, report in reports.items()}
    new = {name: found - set(held.get(name, {}).get("waits", ())) for name, found in waits.items()}
    assert {name: found for name, found in new.items() if found} == {}
