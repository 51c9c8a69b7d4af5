"""ChemGPT as one GGUF file for llama.cpp: the exact GPT-2 of ``gpt2.py`` with a vocabulary of whole symbols.

llama.cpp has no tokenizer of closed vocabularies. Its byte-pair tokenizer, however, takes tokens that are
marked as defined by the user out of a text before anything else, the longest first: with every symbol marked
so, SELFIES are read into the same ids. Pairs to merge are then never looked at.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, written by llama.cpp's own package.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chemscale.models.chemgpt import LAYER_NORM_EPSILON, ChemGPT
from chemscale.models.chemgpt_hf import WeightsError
from chemscale.models.formats.gpt2 import positions_for

_SYMBOL = re.compile(r"\[[^\[\]]+\]|\.|<[^<>]+>")
_BLOCK = {
    "attn_norm": "norm_attention",
    "attn_output": "attention_out",
    "ffn_norm": "norm_mlp",
    "ffn_up": "mlp_in",
    "ffn_down": "mlp_out",
}


def save_gguf(
    model: ChemGPT,
    path: Path,
    tokens: Sequence[str],
    specials: dict[str, int],
    *,
    name: str,
    positions: int | None = None,
) -> int:
    """Write one file, float32.

    Args:
        model: what is saved.
        path: of the file.
        tokens: in the order of their ids.
        specials: ids of ``pad``, ``bos``, ``eos`` and ``unk``, which no text is read into.
        name: of the model.
        positions: that it has; None for as many as are exact.

    Returns:
        The positions that it has.

    Raises:
        WeightsError: the package is not there, or more positions than are exact.
    """
    require_gguf()
    import gguf

    found = positions_for(model.config, positions)
    shape = model.config
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(path), "gpt2")
    writer.add_name(name)
    writer.add_context_length(found)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(4 * shape.width)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_eps(LAYER_NORM_EPSILON)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list(tokens))
    writer.add_token_types(_types(tokens, set(specials.values())))
    writer.add_token_merges(
        [f"{tokens[specials['bos']]} {tokens[specials['eos']]}"]
    )  # it refuses an empty list
    writer.add_bos_token_id(specials["bos"])
    writer.add_eos_token_id(specials["eos"])
    writer.add_pad_token_id(specials["pad"])
    writer.add_unk_token_id(specials["unk"])
    writer.add_add_bos_token(True)
    for key, array in _tensors(model, found):
        writer.add_tensor(key, np.ascontiguousarray(array, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return found


def _types(tokens: Sequence[str], specials: set[int]) -> list[int]:
    """What each token is to llama.cpp: read whole from a text, never read, or unused (word pieces)."""
    from gguf import TokenType

    whole = [TokenType.USER_DEFINED if _SYMBOL.fullmatch(token) else TokenType.UNUSED for token in tokens]
    return [int(TokenType.CONTROL if i in specials else kind) for i, kind in enumerate(whole)]


def _tensors(model: ChemGPT, positions: int) -> list[tuple[str, Any]]:
    """Weights by llama.cpp's names; its matrices are (outputs, inputs), as ours."""
    ours = {name: tensor.detach().float().cpu() for name, tensor in model.state_dict().items()}
    d, heads = model.config.width, model.config.heads
    scale = torch.ones(3 * d, 1)
    scale[:d] = math.sqrt(d // heads)
    out = [
        ("token_embd.weight", ours["token_embedding.weight"]),
        ("position_embd.weight", ours["position_embedding.weight"][:positions]),
        ("output_norm.weight", ours["norm.weight"]),
        ("output_norm.bias", ours["norm.bias"]),
    ]
    for layer in range(model.config.layers):
        mine, theirs = f"blocks.{layer}", f"blk.{layer}"
        out += [
            (f"{theirs}.attn_qkv.weight", ours[f"{mine}.qkv.weight"] * scale),
            (f"{theirs}.attn_qkv.bias", torch.zeros(3 * d)),
        ]
        for name, part in _BLOCK.items():
            out += [(f"{theirs}.{name}.{kind}", ours[f"{mine}.{part}.{kind}"]) for kind in ("weight", "bias")]
    return [(name, tensor.numpy()) for name, tensor in out]


def require_gguf() -> None:
    """Refuse where llama.cpp's package of the format is not installed.

    Raises:
        WeightsError: it is missing.
    """
    if not importlib.util.find_spec("gguf"):
        raise WeightsError("GGUF needs gguf, not installed here: pip install 'chemscale[gguf]'.")
