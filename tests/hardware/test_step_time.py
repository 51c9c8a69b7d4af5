"""The estimate of a step on a GPU: small models are launches, large ones are products."""

from dataclasses import replace

import pytest

from chemscale.hardware.accelerators import ACCELERATORS
from chemscale.hardware.memory import Transformer
from chemscale.hardware.step_time import StepTime, Work, step_time, transformer_work

H100 = ACCELERATORS["h100"]


def chemgpt(width: int, precision: str, tokens: int = 8192, **options) -> tuple[StepTime, float]:
    """The time of a step of a ChemGPT of 24 layers, and its MFU."""
    shape = Transformer(width, 24, 16, 200)
    parameters = 24 * 12 * width**2 + 200 * width
    flops = 6.0 * parameters * tokens
    half = precision == "bf16-mixed"
    work = transformer_work(shape, parameters, tokens, flops, half=half, recompute=False)
    took = step_time(H100, work, precision, **options)
    return took, flops / took.seconds / H100.peak_of(precision)


@pytest.mark.parametrize(
    ("width", "tokens", "precision", "milliseconds"),
    [
        (128, 65536, "bf16-mixed", 36),
        (256, 65536, "bf16-mixed", 65),
        (1024, 8192, "bf16-mixed", 60),
        (2048, 8192, "bf16-mixed", 187),
        (2048, 8192, "tf32", 330),
        (2048, 8192, "32", 1400),
    ],
)
def test_it_gives_the_roofline_that_was_made_for_this_code(width, tokens, precision, milliseconds):
    """Figures of a review of 2026-11, themselves estimates, where filling of memory is no part of them."""
    took, _ = chemgpt(width, precision, tokens)
    assert took.seconds * 1e3 == pytest.approx(milliseconds, rel=0.15)


def test_utilization_grows_with_size_from_nothing_to_a_third_of_the_peak():
    shares = [chemgpt(width, "bf16-mixed")[1] for width in (16, 128, 256, 1024, 2048)]
    assert shares == sorted(shares)
    assert shares[0] < 0.001
    assert shares[1] < 0.03
    assert 0.3 < shares[-1] < 0.45


def test_a_small_model_is_bound_by_launches_and_a_large_one_is_not():
    assert chemgpt(128, "bf16-mixed")[0].is_bound_by_launches
    assert not chemgpt(2048, "bf16-mixed")[0].is_bound_by_launches


def test_small_points_share_a_gpu_almost_for_nothing_and_large_ones_wait_for_each_other():
    def slower(width: int) -> float:
        alone, shared = (chemgpt(width, "bf16-mixed", 2048, per_gpu=k)[0].seconds for k in (1, 4))
        return shared / alone

    assert slower(64) < 1.5
    assert slower(2048) > 3.5


def test_micro_batches_are_launched_one_after_another():
    once, four = (chemgpt(128, "bf16-mixed", 2048, micro_batches=k)[0] for k in (1, 4))
    assert four.host == pytest.approx(4 * once.host)
    assert four.loop == once.loop


def test_a_faster_memory_helps_what_is_moved_and_not_what_is_launched():
    work = Work(operations=100, flops=0.0, moved=1e11)
    slow, fast = (step_time(replace(H100, bandwidth=b), work, "32").device for b in (1e12, 2e12))
    assert slow > 1.8 * fast
    launches = Work(operations=10_000, flops=0.0, moved=0.0)
    assert step_time(H100, launches, "32").seconds == step_time(ACCELERATORS["b200"], launches, "32").seconds


def test_heads_whose_rows_are_not_of_16_bytes_have_no_fused_kernel_in_float32():
    shapes = [Transformer(width, 8, 16, 100, squares=50.0) for width in (16, 32, 48, 64, 128)]
    assert [shape.keeps_probabilities(half=False) for shape in shapes] == [True, True, True, False, False]
    assert not shapes[0].keeps_probabilities(half=True)
    plain, kernel = shapes[1], replace(shapes[1], attention="kernel")
    assert plain.layer_bytes(half=False) > kernel.layer_bytes(half=False) + 16 * 4 * 40
