"""Weights of a downloaded Hugging Face folder, in whichever form they lie there; no code of theirs runs."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from chemscale.models.chemgpt import ChemGPT
from chemscale.models.chemgpt_hf import WeightsError, config_from_hf, load_hf_state_dict

FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where weights may lie, the safer forms first; an index names several files."""
EMBEDDING = ("transformer.wte.weight", "wte.weight")


def load_published(folder: Path) -> ChemGPT:
    """Open a GPT-Neo as somebody published it: pickled or in several files, in half precision, with buffers.

    The rows of the embedding say how large the vocabulary is; ``config.json`` may be wrong there.

    Args:
        folder: with ``config.json`` and the weights.

    Raises:
        WeightsError: a file is missing or damaged, would run code, or is not a GPT-Neo that ChemGPT can hold.
    """
    folder = Path(folder)
    config = _read_json(folder / "config.json")
    weights = {name: tensor.float() for name, tensor in read_weights(folder).items()}
    rows = next((len(weights[name]) for name in EMBEDDING if name in weights), None)
    if rows is None:
        raise WeightsError(f"{folder}: its weights have no token embedding ({EMBEDDING[0]}).")
    try:
        shape = config_from_hf(config | {"vocab_size": rows})
    except KeyError as error:
        raise WeightsError(f"{folder}/config.json: not that of a GPT-Neo, {error} is missing.") from None
    except WeightsError as error:
        raise WeightsError(f"{folder}/config.json: {error}") from None
    model = ChemGPT(shape)
    try:
        load_hf_state_dict(model, weights)
    except WeightsError as error:
        raise WeightsError(f"{folder}: {error}") from None
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise WeightsError(f"{folder}: {name} has weights that are not finite. Download it again.")
    return model.eval()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder by name, on the CPU.

    Args:
        folder: of the download.

    Raises:
        WeightsError: no weights there, or what ``load_published`` says.
    """
    found = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if found is None:
        raise WeightsError(f"{folder}: no weights there. One of {', '.join(FILES)} is needed.")
    if found.suffix != ".json":
        return _read_file(found)
    parts = _read_json(found).get("weight_map")
    names = sorted({str(name) for name in parts.values()}) if isinstance(parts, dict) else []
    if not names:
        raise WeightsError(f"{found}: names no files of weights.")
    weights: dict[str, Tensor] = {}
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise WeightsError(f"{found}: names {name}, which is not in that folder. Download all of it.")
        weights |= _read_file(folder / name)
    return weights


def keep_rows(model: ChemGPT, rows: list[int], ids: dict[str, int]) -> ChemGPT:
    """The same model with some of its vocabulary: logits of the kept symbols stay the same numbers.

    Args:
        model: the whole one.
        rows: of the embedding, in their new order.
        ids: ``pad_id``, ``bos_id`` and ``eos_id`` in the new order.
    """
    kept = ChemGPT(_with(model, vocab_size=len(rows), **ids))
    weights = model.state_dict()
    name = "token_embedding.weight"
    kept.load_state_dict(weights | {name: weights[name][torch.tensor(rows)]})
    return kept.eval()


def _with(model: ChemGPT, **changes: int) -> Any:
    return type(model.config)(**(model.config.to_dict() | changes))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{path}: missing. Give the folder of a downloaded model.") from None
    except (NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        raise WeightsError(f"{path}: damaged, or not JSON. Download it again.") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: not a table of names and values. Download it again.")
    return content


def _read_file(path: Path) -> dict[str, Tensor]:
    """Tensors of one file; a pickle is read by PyTorch's restricted reader alone."""
    if _is_pointer(path):
        raise WeightsError(f"{path}: a pointer of Git LFS, not the weights. Run git lfs pull there.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: holds more than tensors, or is damaged ({_first_line(error)}). Such a file can run "
            "code when it is opened, so it is not. Get the weights as safetensors."
        ) from None
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: damaged ({_first_line(error)}). Download it again.") from None
    if not isinstance(content, dict) or not all(isinstance(each, Tensor) for each in content.values()):
        raise WeightsError(f"{path}: not a table of tensors by name, as transformers saves weights.")
    return content


def _is_pointer(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(40).startswith(b"version https://git-lfs")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120].rstrip(". ")
