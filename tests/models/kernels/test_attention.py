"""Our attention on CPUs is attention over rectangles, and depends on nothing but the molecule itself."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.kernels import attention, compiled
from chemscale.models.kernels.attention import has_kernel, kernel_attention
from chemscale.models.layers.attention import document_attention
from chemscale.models.layers.documents import Documents
from chemscale.models.layers.rectangles import rectangle_attention

LENGTHS = [5, 40, 17, 17, 3, 29, 8, 1]

pytestmark = pytest.mark.skipif(compiled.library() is None, reason="needs a C++ compiler (g++)")


def inputs(heads, width, lengths=LENGTHS, scale=1.0):
    generator = torch.Generator().manual_seed(heads * 100 + width)
    qkv = scale * torch.randn(sum(lengths), 3 * heads * width, generator=generator)
    return qkv.requires_grad_(), torch.randn(sum(lengths), heads * width, generator=generator)


def both(function, qkv, gradient):
    """The output and the gradient of the input."""
    out = function(qkv)
    return out.detach(), torch.autograd.grad(out, qkv, gradient.to(out.dtype))[0]


def kernel(heads, lengths=LENGTHS, window=None):
    documents = Documents.from_lengths(lengths)
    return lambda qkv: kernel_attention(qkv, heads, documents.offsets, documents.longest, window)


@pytest.mark.parametrize("window", [None, 6, 1])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6, 8, 16])
@pytest.mark.parametrize("heads", [1, 3, 8, 16, 46])
def test_values_and_gradients_are_those_of_rectangles_in_double_precision(heads, width, window):
    qkv, gradient = inputs(heads, width)
    ours, our_gradient = both(kernel(heads, window=window), qkv, gradient)
    documents = Documents.from_lengths(LENGTHS)
    exact, exact_gradient = both(
        lambda x: rectangle_attention(x.double(), heads, documents, window), qkv, gradient
    )
    torch.testing.assert_close(ours.double(), exact, rtol=5e-6, atol=5e-6)
    torch.testing.assert_close(our_gradient.double(), exact_gradient.double(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("width", [32, 128])
def test_wide_heads_and_long_molecules_are_right_too(width):
    lengths = [300, 7, 129]
    qkv, gradient = inputs(4, width, lengths, scale=0.3)
    ours, our_gradient = both(kernel(4, lengths, window=256), qkv, gradient)
    documents = Documents.from_lengths(lengths)
    exact, exact_gradient = both(lambda x: rectangle_attention(x.double(), 4, documents, 256), qkv, gradient)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(our_gradient.double(), exact_gradient.double(), rtol=1e-4, atol=1e-4)


def test_a_molecule_has_the_same_bits_alone_and_in_any_batch():
    qkv, gradient = inputs(8, 4)
    packed = both(kernel(8), qkv, gradient)
    for part, slope, *found in zip(*(x.split(LENGTHS) for x in (qkv, gradient, *packed)), strict=True):
        part = part.detach().requires_grad_()
        alone = both(kernel(8, [len(part)]), part, slope)
        assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))


def test_the_number_of_threads_changes_no_bit():
    qkv, gradient = inputs(16, 3)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(both(kernel(16), qkv, gradient))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_large_scores_neither_overflow_nor_hide_what_is_not_a_number():
    qkv, _ = inputs(8, 2, scale=300.0)
    found = kernel(8)(qkv)
    assert found.isfinite().all()
    documents = Documents.from_lengths(LENGTHS)
    exact = rectangle_attention(qkv.double(), 8, documents, None)
    torch.testing.assert_close(
        found.double(), exact, rtol=2e-3, atol=2e-3 * float(exact.detach().abs().max())
    )
    with torch.no_grad():
        qkv[5 + 20, 3] = float("nan")  # a query of token 20 of the second molecule
        broken = kernel(8)(qkv).isnan()
    assert broken[25, 2 : 2 + 2].all()
    assert broken.sum() == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_computed_with_in_float32(dtype):
    qkv, gradient = inputs(8, 4)
    half = qkv.detach().to(dtype).requires_grad_()
    ours, our_gradient = both(kernel(8), half, gradient)
    wide, wide_gradient = both(kernel(8), half.detach().float().requires_grad_(), gradient.to(dtype).float())
    assert ours.dtype == our_gradient.dtype == dtype
    assert torch.equal(ours, wide.to(dtype))
    assert torch.equal(our_gradient, wide_gradient.to(dtype))


def test_whoever_counts_or_traces_operations_sees_pytorchs_own():
    qkv, _ = inputs(8, 4)
    assert has_kernel(qkv, 8, 40)
    assert not has_kernel(qkv, 8, attention.LARGEST // 4 + 1)
    assert not has_kernel(qkv.double(), 8, 40)
    documents = Documents.from_lengths([sum(LENGTHS)])
    with FlopCounterMode(display=False) as counter:
        assert not has_kernel(qkv, 8, 40)
        document_attention(qkv, 8, documents, None)
    assert counter.get_total_flops() == 4 * sum(LENGTHS) ** 2 * 32
    compiled.use_kernels(False)
    try:
        assert not has_kernel(qkv, 8, 40)
    finally:
        compiled.use_kernels(True)


@pytest.mark.slow
def test_two_hundred_steps_with_and_without_kernels_give_the_same_losses():
    def losses(kernels):
        compiled.use_kernels(kernels)
        torch.manual_seed(0)
        model = ChemGPT(ChemGPTConfig(40, 32, layers=2, heads=8, max_positions=64))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        random = np.random.default_rng(0)
        found = []
        for _ in range(200):
            sizes = random.integers(3, 50, 20)
            tokens = torch.from_numpy(np.cumsum(random.integers(0, 3, sizes.sum())) % 40)
            positions = torch.cat([torch.arange(n) for n in sizes])
            logits = model(tokens, positions, Documents.from_lengths(sizes))
            loss = torch.nn.functional.cross_entropy(logits, tokens.roll(-1))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            found.append(loss.item())
        return found

    try:
        plain, fast, again = losses(False), losses(True), losses(True)
    finally:
        compiled.use_kernels(True)
    assert fast == again
    assert plain[-1] < plain[0] - 1
    np.testing.assert_allclose(fast, plain, rtol=1e-4)


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FC00001, 0x7FFFFFFF, -1])
def test_a_nan_of_any_bits_stays_one(bits):
    qkv, gradient = inputs(2, 4)
    broken = qkv.detach().clone()
    broken[5, 0] = torch.tensor(bits, dtype=torch.int32).view(torch.float32)  # a query of the second molecule
    out, slope = both(kernel(2), broken.requires_grad_(), gradient)
    assert out[5, :4].isnan().all()
    assert slope[5].isnan().any()
