"""ChemGPT as an exact GPT-2, which programs can serve that do not know GPT-Neo.

GPT-Neo (Black et al. 2021, ``GPTNeoForCausalLM``) is GPT-2 (Radford et al. 2019, ``GPT2LMHeadModel``) but for
three things, and each can be undone in the weights:

- its scores are not divided by √K, K the width of a head: softmax(q·k) = softmax((√K·q)·k / √K), so √K goes
  into the weights of the queries;
- its queries, keys and values have no bias: GPT-2's are zeros;
- every second layer sees a window of 256 tokens only: for molecules of up to 256 tokens this is no
  restriction, and longer ones are refused by leaving their positions out.

GPT-2 keeps its matrices as (inputs, outputs), the transpose of ours.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from chemscale.models.chemgpt import LAYER_NORM_EPSILON, ChemGPT, ChemGPTConfig
from chemscale.models.chemgpt_hf import WeightsError, generation_config

_MATRICES = {"attn.c_proj": "attention_out", "mlp.c_fc": "mlp_in", "mlp.c_proj": "mlp_out"}
_NORMS = {"ln_1": "norm_attention", "ln_2": "norm_mlp"}
_TOP = {"wte.weight": "token_embedding", "ln_f.weight": "norm", "ln_f.bias": "norm"}


def exact_positions(config: ChemGPTConfig) -> int:
    """Longest sequence for which a GPT-2 with the same weights gives the same logits.

    Args:
        config: shape of the model; without a local layer every position is exact.
    """
    windows = [config.window_of(layer) for layer in range(config.layers)]
    return min([config.max_positions, *(window for window in windows if window is not None)])


def positions_for(config: ChemGPTConfig, positions: int | None) -> int:
    """Positions of the GPT-2 of a model.

    Args:
        config: shape of the model.
        positions: what is asked for; None for as many as are exact.

    Raises:
        WeightsError: more than are exact, or none.
    """
    most = exact_positions(config)
    if positions is not None and not 1 <= positions <= most:
        raise WeightsError(
            f"--positions {positions}: a GPT-2 is equal to this model for 1 to {most} tokens only, begin and "
            f"end included. Beyond, layers of GPT-Neo see a window of {config.window} tokens, which GPT-2 "
            "does not have."
        )
    return positions or most


def to_gpt2_state_dict(model: ChemGPT, positions: int | None = None) -> dict[str, Tensor]:
    """The weights under GPT-2's names, float32; the tied head is not repeated.

    Args:
        model: whose weights.
        positions: of the GPT-2; None for as many as are exact.

    Raises:
        WeightsError: more positions than are exact.
    """
    ours = {name: tensor.detach().float().cpu() for name, tensor in model.state_dict().items()}
    d, heads = model.config.width, model.config.heads
    scale = torch.ones(3 * d)
    scale[:d] = math.sqrt(d // heads)
    theirs = {f"transformer.{name}": ours[f"{part}.{name.split('.')[1]}"] for name, part in _TOP.items()}
    rows = positions_for(model.config, positions)
    theirs["transformer.wpe.weight"] = ours["position_embedding.weight"][:rows]
    for layer in range(model.config.layers):
        mine, prefix = f"blocks.{layer}", f"transformer.h.{layer}"
        theirs[f"{prefix}.attn.c_attn.weight"] = (ours[f"{mine}.qkv.weight"] * scale[:, None]).t()
        theirs[f"{prefix}.attn.c_attn.bias"] = torch.zeros(3 * d)
        for name, part in _MATRICES.items():
            theirs[f"{prefix}.{name}.weight"] = ours[f"{mine}.{part}.weight"].t()
            theirs[f"{prefix}.{name}.bias"] = ours[f"{mine}.{part}.bias"]
        for name, part in _NORMS.items():
            for kind in ("weight", "bias"):
                theirs[f"{prefix}.{name}.{kind}"] = ours[f"{mine}.{part}.{kind}"]
    return {name: tensor.contiguous() for name, tensor in theirs.items()}


def gpt2_config(config: ChemGPTConfig, positions: int) -> dict[str, Any]:
    """``config.json`` of a GPT-2 with these numbers.

    Args:
        config: shape of the model.
        positions: of the GPT-2.
    """
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "initializer_range": config.initializer_range,
        "layer_norm_epsilon": LAYER_NORM_EPSILON,
        "n_ctx": positions,
        "n_positions": positions,
        "n_embd": config.width,
        "n_head": config.heads,
        "n_inner": 4 * config.width,
        "n_layer": config.layers,
        "vocab_size": config.vocab_size,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "pad_token_id": config.pad_id,
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
        "tie_word_embeddings": True,
        "use_cache": True,
        "dtype": "float32",
    }


def save_gpt2(
    model: ChemGPT,
    folder: Path,
    *,
    positions: int | None = None,
    max_length: int | None = None,
    extra: dict[str, Any] | None = None,
) -> int:
    """Write ``config.json``, ``generation_config.json`` and ``model.safetensors`` of a GPT-2.

    Args:
        model: what is saved.
        folder: of the files; it is made.
        positions: of the GPT-2; None for as many as are exact.
        max_length: tokens at which ``transformers`` ends a generation; None for all positions.
        extra: more keys for ``config.json``.

    Returns:
        The positions that it has.

    Raises:
        WeightsError: more positions than are exact.
    """
    folder = Path(folder)
    found = positions_for(model.config, positions)
    weights = to_gpt2_state_dict(model, found)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(
        json.dumps(gpt2_config(model.config, found) | (extra or {}), indent=1)
    )
    generation = generation_config(
        replace(model.config, max_positions=found), min(max_length or found, found)
    )
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=1))
    return found
