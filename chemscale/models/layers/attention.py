"""Attention that never crosses molecules, by the fastest way that there is for device and type.

``rectangles.py`` is the reference; ``kernels/varlen.py`` runs on GPUs in half precision,
``kernels/attention.py`` on CPUs.
"""

from __future__ import annotations

from torch import Tensor

from chemscale.models.kernels.attention import has_kernel, kernel_attention
from chemscale.models.kernels.varlen import has_varlen, varlen_attention
from chemscale.models.layers.documents import Attending, Documents
from chemscale.models.layers.rectangles import rectangle_attention


def document_attention(
    qkv: Tensor, heads: int, documents: Documents | Attending, window: int | None
) -> Tensor:
    """Causal self-attention within each molecule.

    GPT-Neo does not divide by √K (Black et al. 2021, as in transformers' ``GPTNeoSelfAttention``).

    Args:
        qkv: (T, 3·H·K) queries, keys and values side by side.
        heads: H.
        documents: which tokens form a molecule.
        window: a token sees itself and the ``window - 1`` before it; None for all before it.

    Returns:
        (T, H·K)
    """
    if has_varlen(qkv, heads):
        return varlen_attention(qkv, heads, documents, window)
    if not isinstance(documents, Documents):
        return documents.attend(qkv, heads, window)
    if has_kernel(qkv, heads, documents.longest):
        return kernel_attention(qkv, heads, documents.offsets, documents.longest, window)
    return rectangle_attention(qkv, heads, documents, window)
