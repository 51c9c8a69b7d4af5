"""A downloaded ChemGPT with the defects of the published ones, and random weights."""

import json

import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.chemgpt_hf import hf_config, to_hf_state_dict


def downloaded(folder, published, *, width=16, layers=2, half=False):
    """Write a folder as it is on the Hub: pickled weights with old buffers, GPT-2's ids, a bare tokenizer.

    Args:
        folder: of the files.
        published: content of the published ``tokenizer.json``.
        width: of the model.
        layers: of the model.
        half: whether the weights are float16.

    Returns:
        The model whose weights these are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = len(published["model"]["vocab"])
    torch.manual_seed(0)
    shape = ChemGPTConfig(vocabulary, width, layers=layers, heads=4, max_positions=64, initializer_range=0.2)
    model = ChemGPT(shape).eval()
    if half:
        model = model.half().float()
    weights = dict(to_hf_state_dict(model))
    weights["lm_head.weight"] = weights["transformer.wte.weight"]
    for layer in range(layers):
        prefix = f"transformer.h.{layer}.attn.attention"
        weights[f"{prefix}.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.bool).tril()
        weights[f"{prefix}.masked_bias"] = torch.tensor(-1e9)
    if half:
        weights = {name: w.half() if w.is_floating_point() else w for name, w in weights.items()}
    torch.save(weights, folder / "pytorch_model.bin")
    config = hf_config(shape) | {"bos_token_id": 50256, "eos_token_id": 50256}
    del config["pad_token_id"], config["attention_layers"]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(published))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (folder / "special_tokens_map.json").write_text("{}")
    return model
