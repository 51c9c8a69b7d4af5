"""Attention over the flat batch on GPUs: what the kernel is asked for, and that rectangles give the same."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.kernels import varlen
from chemscale.models.kernels.compiled import use_kernels
from chemscale.models.layers import attention
from chemscale.models.layers.attention import document_attention
from chemscale.models.layers.documents import Documents
from chemscale.models.layers.rectangles import rectangle_attention

LENGTHS = [5, 40, 17, 17, 3, 29, 8, 1]


class PerDocument:
    """Computes what ``varlen_attn`` documents, molecule by molecule, in float32."""

    def __init__(self):
        self.calls = []

    def __call__(
        self, q, k, v, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1), num_splits=None
    ):
        assert cu_seq_q.dtype == torch.int32
        assert q.shape[-1] % 8 == 0
        assert q.stride(-1) == 1
        assert max_q == max_k == int(cu_seq_q.diff().max())
        assert num_splits == 1
        self.calls.append(window_size)
        left, right = window_size
        out = []
        for begin, end in zip(cu_seq_q[:-1].tolist(), cu_seq_k[1:].tolist(), strict=True):
            a, b, c = (x[begin:end].transpose(0, 1).float() for x in (q, k, v))
            i = torch.arange(end - begin)
            distance = i[:, None] - i[None, :]
            allowed = distance >= -right
            if left >= 0:
                allowed &= distance <= left
            out.append(
                F.scaled_dot_product_attention(a, b, c, attn_mask=allowed, scale=scale).transpose(0, 1)
            )
        return torch.cat(out).to(q.dtype)


@pytest.fixture
def stand_in(monkeypatch):
    kernel = PerDocument()
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    monkeypatch.setattr(attention, "has_varlen", lambda qkv, heads: True)
    return kernel


@pytest.mark.parametrize("window", [None, 6, 1, 40])
@pytest.mark.parametrize("width", [1, 4, 8, 20])
def test_values_and_gradients_are_those_of_rectangles(width, window, stand_in):
    documents = Documents.from_lengths(LENGTHS)
    qkv = torch.randn(120, 3 * 4 * width, generator=torch.Generator().manual_seed(0)).requires_grad_()
    slope = torch.randn(120, 4 * width)
    found = document_attention(qkv, 4, documents, window)
    plain = rectangle_attention(qkv, 4, documents, window)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(y, qkv, slope)[0] for y in (found, plain)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_a_window_counts_the_query_itself_and_one_wider_than_all_molecules_is_none(stand_in):
    qkv = torch.randn(120, 3 * 32)
    for window in (None, 6, 39, 40, 256):
        document_attention(qkv, 4, Documents.from_lengths(LENGTHS), window)
    assert stand_in.calls == [(-1, 0), (5, 0), (38, 0), (-1, 0), (-1, 0)]


def test_dense_batches_go_the_same_way(stand_in):
    torch.manual_seed(0)
    model = ChemGPT(ChemGPTConfig(50, 32, layers=2, heads=4, window=6, max_positions=64))
    tokens = torch.randint(4, 50, (3, 20))
    found = model.dense(tokens)
    assert stand_in.calls == [(-1, 0), (5, 0)]
    attention.has_varlen = lambda qkv, heads: False  # undone with the fixture
    torch.testing.assert_close(found, model.dense(tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("width", "heads"), [(16, 16), (128, 16), (64, 2)])
def test_the_real_operation_is_reached_with_half_precision_on_a_gpu(width, heads, request):
    with FakeTensorMode(), torch.no_grad():
        documents = Documents.rectangle(3, 20, torch.device("cuda"))
        qkv = torch.empty(60, 3 * width, device="cuda", dtype=torch.bfloat16)
        assert varlen.has_varlen(qkv, heads)
        out = document_attention(qkv, heads, documents, 6)
        assert out.shape == (60, width)
        assert out.device.type == "cuda"
        assert out.dtype == torch.bfloat16
        assert not varlen.has_varlen(qkv.float(), heads)
        use_kernels(False)
        request.addfinalizer(lambda: use_kernels(True))
        assert not varlen.has_varlen(qkv, heads)
        use_kernels(True)
        assert not varlen.has_varlen(torch.empty(60, 3 * 512, device="cuda", dtype=torch.bfloat16), 1)


def test_rectangles_are_laid_out_where_a_batch_went_and_only_if_they_are_asked_for():
    documents = Documents.from_lengths(LENGTHS)
    moved = documents.to(torch.device("meta"))  # its numbers cannot be read back: they are the host's
    assert moved._rectangles is None
    assert torch.equal(moved.offsets_on_host, documents.offsets)
    assert moved.offsets.device.type == moved.rectangles.inverse.device.type == "meta"
    assert [g.rows.numel() for g in moved.groups] == [g.molecules * g.longest for g in documents.groups]
