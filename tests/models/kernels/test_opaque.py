"""Attention as one operation of compilers: the same numbers, and shapes that do not follow the documents."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from chemscale.models.kernels.opaque import OpaqueDocuments
from chemscale.models.layers.attention import document_attention
from chemscale.models.layers.documents import Documents

LENGTHS = [5, 17, 1, 9, 40]
HEADS, WIDTH = 4, 3


def masks(spare):
    """The document mask, and the same as tensors alone with offsets for some more documents."""
    documents = Documents.from_lengths(LENGTHS)
    offsets = torch.nn.functional.pad(documents.offsets, (0, spare), value=sum(LENGTHS))
    return documents, OpaqueDocuments(offsets, max(LENGTHS))


def attention_and_gradient(mask, window, precision=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shape = sum(LENGTHS), 3 * HEADS * WIDTH
    qkv = torch.randn(shape, generator=generator).to(precision).requires_grad_()
    out = document_attention(qkv, HEADS, mask, window)
    (gradient,) = torch.autograd.grad(out, qkv, torch.randn(out.shape, generator=generator).to(precision))
    return out.detach(), gradient


@pytest.mark.parametrize("spare", [0, 3])
@pytest.mark.parametrize("window", [None, 8])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_those_of_the_attention_that_is_looked_into(spare, window, precision):
    plain, opaque = (attention_and_gradient(mask, window, precision) for mask in masks(spare))
    for expected, found in zip(plain, opaque, strict=True):
        assert torch.equal(found, expected)


def test_offsets_on_a_gpu_are_refused_where_the_host_would_read_them():
    with FakeTensorMode():
        mask = OpaqueDocuments(torch.empty(6, dtype=torch.int32, device="cuda"), 40)
        qkv = torch.empty(72, 3 * HEADS * WIDTH, device="cuda")
        with pytest.raises(ValueError, match="host"):
            document_attention(qkv, HEADS, mask, None)


@pytest.mark.parametrize("window", [0, 8])
def test_the_operation_keeps_what_compilers_are_promised(window):
    _, mask = masks(3)
    qkv = torch.randn(sum(LENGTHS), 3 * HEADS * WIDTH, requires_grad=True)
    torch.library.opcheck(torch.ops.chemscale.document_attention.default, (qkv, mask.offsets, HEADS, window))


def test_documents_of_another_batch_are_not_taken_for_these():
    qkv = torch.randn(sum(LENGTHS), 3 * HEADS * WIDTH)
    for lengths in (LENGTHS, LENGTHS[::-1], [sum(LENGTHS)], LENGTHS):
        documents = Documents.from_lengths(lengths)
        found = OpaqueDocuments(documents.offsets, max(lengths)).attend(qkv, HEADS, None)
        assert torch.equal(found, document_attention(qkv, HEADS, documents, None))
