"""What the counter sees: waits, copies, bytes, kernels; on fake tensors in this process, forward only."""

import ctypes

import pytest
import torch

from chemscale.testing.fake_cuda import table
from chemscale.testing.fake_cuda.counting import Operations
from chemscale.testing.fake_cuda.device import NoFakeDeviceError, build_library
from chemscale.testing.fake_cuda.kernels import SORTED_SUM, is_view, stored
from chemscale.testing.fake_cuda.pretence import FakeDeviceMode, cuda_is_there


@pytest.fixture(scope="module")
def guard():
    """The device's guard alone: torch is imported, and knows for good that it has no CUDA."""
    try:
        ctypes.CDLL(str(build_library()))
    except NoFakeDeviceError as error:
        pytest.skip(str(error))


@pytest.fixture
def operations(guard):
    torch.use_deterministic_algorithms(False)  # a trainer of another test may have asked for it
    with FakeDeviceMode(), Operations(integer=15) as counter, cuda_is_there(counter.wait):
        yield counter


def on_gpu(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="cuda")


def test_a_product_is_one_kernel_that_reads_both_factors_and_writes_one_result(operations):
    on_gpu(6, 4) @ on_gpu(4, 5)
    assert (operations.now.operations, operations.now.kernels) == (1, 1)
    assert operations.now.bytes == 4 * (6 * 4 + 4 * 5 + 6 * 5)
    assert operations.now.flops == 2 * 6 * 4 * 5


def test_views_and_work_of_the_host_are_no_kernels(operations):
    on_gpu(6, 4).t()[1:].unsqueeze(0)
    torch.ones(3) + torch.ones(3)
    assert operations.now.operations == 0


def test_a_dimension_that_is_only_expanded_is_stored_once(operations):
    assert stored(on_gpu(1, 4).expand(100, 4)) == 16
    assert stored(on_gpu(0, 4)) == 0


def test_reading_a_number_of_the_device_is_a_wait_and_of_the_host_is_none(operations):
    assert float(torch.ones(())) == 1.0
    assert operations.now.waits == []
    assert float(on_gpu()) == 1.0
    assert bool(on_gpu().isfinite()) is True
    assert int(on_gpu(dtype=torch.int64)) == 15
    assert [wait.split(" at ")[0] for wait in operations.now.waits] == 3 * ["a number is read"]


def test_a_wait_is_named_by_the_line_that_waits(operations):
    on_gpu().item()
    assert "test_counting.py" in operations.now.waits[0]
    assert "(test_a_wait_is_named_by_the_line_that_waits)" in operations.now.waits[0]


@pytest.mark.parametrize(
    ("pin", "lazy", "waits"), [(True, True, 0), (True, False, 1), (False, True, 1), (False, False, 1)]
)
def test_a_copy_to_the_device_waits_unless_it_is_pinned_and_not_blocking(operations, pin, lazy, waits):
    host = torch.empty(8)
    (host.pin_memory() if pin else host).to("cuda", non_blocking=lazy)
    assert len(operations.now.waits) == waits


def test_a_copy_back_waits_unless_it_goes_into_pinned_memory_without_blocking(operations):
    torch.empty(8, pin_memory=True).copy_(on_gpu(8), non_blocking=True)
    assert operations.now.waits == []
    on_gpu(8).cpu()
    assert len(operations.now.waits) == 1


def test_a_number_that_is_written_to_the_device_waits(operations):
    on_gpu(8).new_tensor(3)
    assert len(operations.now.waits) == 1


@pytest.mark.parametrize(
    "select",
    [
        lambda x, mask: x[mask],
        lambda x, mask: mask.nonzero(),
        lambda x, mask: torch.masked_select(x, mask),
        lambda x, mask: torch.repeat_interleave(mask.long()),
    ],
    ids=["mask", "nonzero", "masked_select", "repeat_interleave"],
)
def test_a_result_whose_size_depends_on_data_is_a_wait(operations, select):
    select(on_gpu(8), on_gpu(8, dtype=torch.bool))
    assert len(operations.now.waits) == 1


def test_a_repetition_of_known_size_does_not_wait(operations):
    count = on_gpu(8, dtype=torch.int64)
    assert torch.repeat_interleave(count, output_size=40).shape == (40,)
    assert operations.now.waits == []


def test_tensors_of_two_devices_are_refused(operations):
    with pytest.raises(RuntimeError, match="device"):
        on_gpu(3) + torch.ones(3)


def test_a_sum_by_index_costs_a_sort_where_it_must_be_deterministic(operations):
    total, index, rows = on_gpu(4, 2), on_gpu(8, dtype=torch.int64), on_gpu(8, 2)
    total.index_add(0, index, rows)
    plain = operations.now.kernels
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        total.index_add(0, index, rows)
    finally:
        torch.use_deterministic_algorithms(False)
    assert (plain, operations.now.kernels - plain) == (2, 1 + SORTED_SUM)


def test_memory_that_determinism_fills_with_nan_is_a_kernel(operations):
    torch.use_deterministic_algorithms(True, warn_only=True)
    fills = torch.utils.deterministic.fill_uninitialized_memory
    try:
        for fill in (True, False):
            torch.utils.deterministic.fill_uninitialized_memory = fill
            on_gpu(4)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = fills
    assert operations.now.names == {"empty": 1}


def test_lists_of_tensors_are_taken_many_at_a_time(operations):
    torch._foreach_mul_([on_gpu(3) for _ in range(200)], 2.0)
    assert (operations.now.operations, operations.now.kernels) == (1, 2)


def test_gradients_are_clipped_as_one_list(operations):
    weights = [torch.nn.Parameter(on_gpu(3)) for _ in range(40)]
    for weight in weights:
        weight.grad = on_gpu(3)
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    assert operations.now.names["_foreach_norm"] == 1
    assert operations.now.kernels < 20


def test_counts_are_kept_by_phase(operations):
    operations.phase = "forward"
    on_gpu(3).exp()
    operations.phase = "backward"
    on_gpu(3).exp().exp()
    counts = {name: phase.operations for name, phase in operations.phases.items()}
    assert counts == {"forward": 1, "backward": 2}


def test_an_operation_that_writes_in_place_is_no_view():
    assert is_view(torch.ops.aten.view.default)
    assert not is_view(torch.ops.aten.add_.Tensor)


REPORT = {
    "operations": 10,
    "kernels": 12,
    "bytes": 1000,
    "flops": 5,
    "waits": {"a number is read at a/b.py:7 (f)": 2},
}


def test_the_table_names_what_grew_and_forgives_lines_that_moved(tmp_path):
    held = table.write(tmp_path / "counts.json", {}, {"case": REPORT})
    assert table.read(tmp_path / "counts.json") == held
    moved = {**REPORT, "waits": {"a number is read at a/b.py:9 (f)": 1}}
    assert table.exceeded(held["case"], moved) == []
    worse = {**REPORT, "kernels": 13, "bytes": 1200, "waits": {"a number is read at a/b.py:9 (g)": 1}}
    grew = [text.split(":")[0] for text in table.exceeded(held["case"], worse)]
    assert grew == ["kernels", "bytes", "waits"]
    assert table.exceeded(held["case"], {**REPORT, "kernels": 3, "waits": {}}) == []


def test_a_table_of_another_torch_holds_nothing(tmp_path, monkeypatch):
    table.write(tmp_path / "counts.json", {}, {"case": REPORT})
    monkeypatch.setattr(table, "torch_series", lambda: "9.9")
    assert table.read(tmp_path / "counts.json") == {}
