"""ChemGPT as a Hugging Face folder: weights both ways, so that no remote code is ever needed.

The folder opens with ``AutoModelForCausalLM.from_pretrained`` (``model_type: gpt_neo``). ``transformers``
itself is not needed here: the folder is JSON and safetensors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig

_BLOCK_NAMES = {
    "norm_attention": "ln_1",
    "attention_out": "attn.attention.out_proj",
    "norm_mlp": "ln_2",
    "mlp_in": "mlp.c_fc",
    "mlp_out": "mlp.c_proj",
}
_TOP_NAMES = {
    "token_embedding.weight": "transformer.wte.weight",
    "position_embedding.weight": "transformer.wpe.weight",
    "norm.weight": "transformer.ln_f.weight",
    "norm.bias": "transformer.ln_f.bias",
}


class WeightsError(ValueError):
    """Weights or a folder that are not those of a GPT-Neo this model can hold."""


def to_hf_state_dict(model: ChemGPT) -> dict[str, Tensor]:
    """The weights under GPT-Neo's names; the tied head is not repeated."""
    ours = model.state_dict()
    theirs = {name: ours[key] for key, name in _TOP_NAMES.items()}
    for layer in range(model.config.layers):
        mine, prefix = f"blocks.{layer}", f"transformer.h.{layer}"
        for part, weight in zip("qkv", ours[f"{mine}.qkv.weight"].chunk(3), strict=True):
            theirs[f"{prefix}.attn.attention.{part}_proj.weight"] = weight
        for part, name in _BLOCK_NAMES.items():
            for kind in ("weight", "bias"):
                theirs[f"{prefix}.{name}.{kind}"] = ours[f"{mine}.{part}.{kind}"]
    return {name: tensor.contiguous() for name, tensor in theirs.items()}


def load_hf_state_dict(model: ChemGPT, weights: dict[str, Tensor]) -> None:
    """Put GPT-Neo weights into a model.

    Args:
        model: what they are put into.
        weights: by GPT-Neo's names; causal-mask buffers of old ``transformers`` versions are left out.

    Raises:
        WeightsError: a weight is missing, left over, of another shape, or the head is not tied.
    """
    buffers = (".attn.attention.bias", ".attn.attention.masked_bias")
    theirs = {name: tensor for name, tensor in weights.items() if not name.endswith(buffers)}
    if not any(name.startswith("transformer.") for name in theirs):
        theirs = {
            name if name == "lm_head.weight" else f"transformer.{name}": t for name, t in theirs.items()
        }
    head = theirs.pop("lm_head.weight", None)
    expected = to_hf_state_dict(model)
    missing, left_over = sorted(set(expected) - set(theirs)), sorted(set(theirs) - set(expected))
    if missing or left_over:
        raise WeightsError(
            f"These are not the weights of this GPT-Neo ({model.config.layers} layers): "
            f"missing {missing[:3]}, left over {left_over[:3]}."
        )
    for name, tensor in theirs.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"{name} is {tuple(tensor.shape)}, the model wants {tuple(expected[name].shape)}."
            )
    if head is not None and not torch.equal(head, theirs["transformer.wte.weight"]):
        raise WeightsError("lm_head.weight differs from the token embedding: ChemGPT ties them.")
    ours = {key: theirs[name] for key, name in _TOP_NAMES.items()}
    for layer in range(model.config.layers):
        mine, prefix = f"blocks.{layer}", f"transformer.h.{layer}"
        parts = [theirs[f"{prefix}.attn.attention.{part}_proj.weight"] for part in "qkv"]
        ours[f"{mine}.qkv.weight"] = torch.cat(parts)
        for part, name in _BLOCK_NAMES.items():
            for kind in ("weight", "bias"):
                ours[f"{mine}.{part}.{kind}"] = theirs[f"{prefix}.{name}.{kind}"]
    model.load_state_dict(ours)


def hf_config(config: ChemGPTConfig) -> dict[str, Any]:
    """``config.json`` of a GPT-Neo equal to `config`."""
    if config.layers % 2:
        pattern = [[["global", "local"], config.layers // 2], [["global"], 1]]
    else:
        pattern = [[["global", "local"], config.layers // 2]]
    return {
        "architectures": ["GPTNeoForCausalLM"],
        "model_type": "gpt_neo",
        "activation_function": "gelu_new",
        "attention_dropout": 0.0,
        "attention_layers": ["local" if config.window_of(i) else "global" for i in range(config.layers)],
        "attention_types": [part for part in pattern if part[1]],
        "classifier_dropout": 0.0,
        "embed_dropout": 0.0,
        "resid_dropout": 0.0,
        "hidden_size": config.width,
        "initializer_range": config.initializer_range,
        "intermediate_size": None,
        "layer_norm_epsilon": 1e-5,
        "max_position_embeddings": config.max_positions,
        "num_heads": config.heads,
        "num_layers": config.layers,
        "vocab_size": config.vocab_size,
        "window_size": config.window,
        "pad_token_id": config.pad_id,
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
        "tie_word_embeddings": True,
        "use_cache": True,
        "dtype": "float32",
    }


def generation_config(config: ChemGPTConfig, max_length: int) -> dict[str, Any]:
    """Plain sampling at temperature 1: the only honest setting for the model's distribution.

    Padding and the begin symbol are never drawn, as in our own sampling: no training target is one of them.
    """
    return {
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "max_length": max_length,
        "suppress_tokens": [config.pad_id, config.bos_id],
        "pad_token_id": config.pad_id,
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
    }


def save_pretrained(
    model: ChemGPT, folder: Path, *, max_length: int = 512, extra: dict[str, Any] | None = None
) -> None:
    """Write ``config.json``, ``generation_config.json`` and ``model.safetensors`` (float32).

    Args:
        model: what is saved.
        folder: of the files; it is made.
        max_length: tokens at which ``transformers`` ends a generation.
        extra: more keys for ``config.json``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().float().cpu() for name, tensor in to_hf_state_dict(model).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(hf_config(model.config) | (extra or {}), indent=1))
    generation = generation_config(model.config, min(max_length, model.config.max_positions))
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=1))


def config_from_hf(raw: dict[str, Any]) -> ChemGPTConfig:
    """Read a GPT-Neo configuration.

    Args:
        raw: content of its ``config.json``.

    Raises:
        WeightsError: another architecture, or a GPT-Neo variant that this model does not have.
    """
    if raw.get("model_type") != "gpt_neo":
        hint = " Exports as GPT-2 are for other programs: give the run." * (raw.get("model_type") == "gpt2")
        raise WeightsError(f"model_type is {raw.get('model_type')!r}: ChemGPT is a gpt_neo.{hint}")
    layers = raw["num_layers"]
    pattern = raw.get("attention_layers") or [
        kind for kinds, n in raw["attention_types"] for kind in kinds * n
    ]
    if list(pattern) != ["local" if i % 2 else "global" for i in range(layers)]:
        raise WeightsError("attention_layers must alternate global, local, global, …")
    if raw.get("intermediate_size") not in (None, 4 * raw["hidden_size"]):
        raise WeightsError("intermediate_size must be four times hidden_size.")
    vocab = raw["vocab_size"]
    ids = {
        "pad_id": raw.get("pad_token_id"),
        "bos_id": raw.get("bos_token_id"),
        "eos_id": raw.get("eos_token_id"),
    }
    # The published ChemGPT configs name GPT-2's token 50256, outside their own vocabulary: fall back.
    known = {key: value for key, value in ids.items() if value is not None and value < vocab}
    return ChemGPTConfig(
        vocab_size=vocab,
        width=raw["hidden_size"],
        layers=layers,
        heads=raw["num_heads"],
        window=raw["window_size"],
        max_positions=raw["max_position_embeddings"],
        initializer_range=raw.get("initializer_range", 0.02),
        **known,
    )


def load_pretrained(folder: Path) -> ChemGPT:
    """Open a folder written here or by ``transformers``.

    Args:
        folder: with ``config.json`` and ``model.safetensors``.

    Raises:
        WeightsError: the folder or one of its files is missing, is not a GPT-Neo, or has weights that are
            not finite.
    """
    folder = Path(folder)
    if not folder.exists():
        raise WeightsError(f"{folder}: no such run or folder. Give RUNS/SWEEP/NAME, or a model's folder.")
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder}: no {name} there. {_other_weights(folder)}")
    try:
        model = ChemGPT(config_from_hf(json.loads((folder / "config.json").read_text())))
        load_hf_state_dict(model, load_file(folder / "model.safetensors"))
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"{folder}: damaged or not a model ({error}).") from None
    for weight_name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise WeightsError(
                f"{folder}: {weight_name} has weights that are not finite: the run diverged. Export an "
                "earlier checkpoint of it, or train it again at a lower rate."
            )
    return model


def _other_weights(folder: Path) -> str:
    """What to do about weights that lie there in another form."""
    kinds = {"*.safetensors.index.json": "in several files", "*.bin": "as pickles, which are not opened"}
    for pattern, form in kinds.items():
        if any(folder.glob(pattern)):
            return (
                f"Its weights lie there {form}: write them once as one file, with transformers: "
                f"AutoModelForCausalLM.from_pretrained({str(folder)!r}).save_pretrained(FOLDER, "
                "max_shard_size='100GB'), and copy the tokenizer's files beside them. A published "
                "ChemGPT: python -m chemscale.export --from-hf FOLDER --to OUT."
            )
    return "Give the folder of a trained model."
