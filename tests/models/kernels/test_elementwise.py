"""GELU and the linear layer by our kernels equal PyTorch's, values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from chemscale.models.kernels import compiled, products
from chemscale.models.kernels.gelu import gelu
from chemscale.models.kernels.products import MIN_PRODUCTS, Linear, linear

has_onednn = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@pytest.mark.skipif(compiled.library() is None, reason="needs a C++ compiler (g++)")
@pytest.mark.parametrize("size", [1, 15, 16, 17, 100_003])
def test_gelu_is_pytorchs_at_every_size(size):
    x = (4 * torch.randn(size, generator=torch.Generator().manual_seed(size))).requires_grad_()
    slope = torch.randn(size, generator=torch.Generator().manual_seed(1))
    found = gelu(x)
    assert "_Gelu" in type(found.grad_fn).__name__
    exact = F.gelu(x.double(), approximate="tanh")
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(y, x, slope.to(y.dtype))[0] for y in (found, exact)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=3e-6)


@pytest.mark.skipif(compiled.library() is None, reason="needs a C++ compiler (g++)")
def test_gelu_far_from_zero_is_the_identity_or_nothing_and_passes_on_what_is_no_number():
    x = torch.tensor([-1e4, -50.0, -0.0, 50.0, 1e4, float("nan")], requires_grad=True)
    found = gelu(x)
    assert found[:5].tolist() == pytest.approx([0, 0, 0, 50, 1e4], abs=1e-20)
    assert found[5].isnan()
    (slope,) = torch.autograd.grad(found.sum(), x)
    assert slope[:5].tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-20)


@pytest.fixture
def slow_mkl(monkeypatch):
    """As on a processor that MKL serves badly."""
    if not has_onednn:
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(products, "mkl_is_slow", lambda: True)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 192), (256, 64)])
def test_a_linear_layer_has_the_same_values_and_gradients_through_onednn(inputs, outputs, bias, slow_mkl):
    torch.manual_seed(0)
    layer = Linear(inputs, outputs, bias=bias)
    x = torch.randn(MIN_PRODUCTS // (inputs * outputs) + 1, inputs, requires_grad=True)
    slope = torch.randn(len(x), outputs)
    found = layer(x)
    assert "_Linear" in type(found.grad_fn).__name__
    exact = F.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
    wanted = [x, *layer.parameters()]
    ours = torch.autograd.grad(found, wanted, slope)
    theirs = torch.autograd.grad(exact, wanted, slope.double())
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_small_products_double_precision_and_autocast_stay_with_pytorch(slow_mkl):
    weight = torch.randn(128, 128, requires_grad=True)
    rows = MIN_PRODUCTS // weight.numel()
    x = torch.randn(rows, 128)

    def name(y):
        return type(y.grad_fn).__name__

    assert "_Linear" in name(linear(x, weight))
    assert "_Linear" not in name(linear(x[:-1], weight))
    assert "_Linear" not in name(linear(x.double(), weight.double()))
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16


def test_a_weight_that_is_not_trained_gets_no_gradient(slow_mkl):
    weight = torch.randn(128, 128)
    x = torch.randn(MIN_PRODUCTS // weight.numel(), 128, requires_grad=True)
    linear(x, weight).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand_as(x), rtol=1e-4, atol=1e-4)
    assert weight.grad is None
