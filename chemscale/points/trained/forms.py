"""A model in the form that another program reads, and the proof that it gives the same logits."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chemscale.hardware.devices import named_device
from chemscale.models.chemgpt import ChemGPT
from chemscale.models.formats.gguf import require_gguf, save_gguf
from chemscale.models.formats.gpt2 import positions_for, save_gpt2
from chemscale.models.formats.onnx import onnx_logits, require_onnx, save_onnx
from chemscale.molecules.loading import load_trained, suppress_in_transformers
from chemscale.points.trained.checkpoint import ExportError
from chemscale.points.trained.potential_forms import POTENTIAL_FORMS

FORMS = ("hf", "gpt2", "onnx", "gguf", *POTENTIAL_FORMS)
TOLERANCE = 1e-3
"""Largest difference of logits, in units of the largest logit, that rounding explains through 24 layers."""
CHECKED = 4
"""Sequences that are compared, beside one that fills every position up to 256."""


@dataclass(frozen=True)
class Written:
    """A form of a model on the disk.

    Args:
        positions: that it has.
        difference: largest of the logits, against ours; None where nothing was there to compare with.
        against: which program gave the other logits, or why none did.
    """

    positions: int
    difference: float | None
    against: str

    @property
    def proof(self) -> str:
        """In one sentence."""
        if self.difference is None:
            return f"Its logits were not compared: {self.against}."
        most = f"{self.difference:.1e}"
        return f"Its logits differ from those of chemscale's model by at most {most} ({self.against})."


def check_form(form: str, positions: int | None, device: str = "cpu") -> None:
    """Refuse what cannot be written, before anything is read.

    Args:
        form: hf | gpt2 | onnx | gguf | aoti | exported.
        positions: asked for.
        device: asked for.

    Raises:
        ExportError: an unknown form, or an option of another.
        HardwareError: no such device is here.
        WeightsError: packages of ONNX or GGUF are missing.
    """
    if form not in FORMS:
        raise ExportError(f"--as {form}: choose one of {', '.join(FORMS)}.")
    if positions is not None and form not in ("gpt2", "gguf"):
        raise ExportError("--positions is for --as gpt2 and gguf, whose positions end where they are exact.")
    if device != "cpu" and form not in POTENTIAL_FORMS:
        raise ExportError(f"--device is for --as {' and '.join(POTENTIAL_FORMS)}, which run where it says.")
    if form in POTENTIAL_FORMS:
        named_device(device)
    if form == "gguf":
        require_gguf()
    if form == "onnx":
        require_onnx()


def write_form(
    form: str, source: Path, folder: Path, *, name: str, positions: int | None, check: bool
) -> Written:
    """Write a model folder in another form.

    Args:
        form: hf | gpt2 | onnx | gguf; for hf `folder` is `source` and stays as it is.
        source: folder with the model and its tokenizer.
        folder: to write.
        name: of the model.
        positions: of a GPT-2; None for as many as are exact.
        check: compare its logits with ours.

    Raises:
        ExportError: the form does not give the model's logits.
        WeightsError: more positions than are exact.
    """
    model, tokenizer = load_trained(source, "cpu")
    known = json.loads((source / "config.json").read_text()).get("chemscale")
    generation = source / "generation_config.json"
    settings = json.loads(generation.read_text()) if generation.is_file() else {}
    ends = settings.get("max_length")
    extra = {"chemscale": known} if known else {}
    found = model.config.max_positions
    if form == "gpt2":
        found = positions_for(model.config, positions)
        save_gpt2(model, folder, positions=found, max_length=ends, extra=extra)
        suppress_in_transformers(folder, tokenizer)
        tokenizer.save(folder, max_length=found, padding_side="left")
    elif form == "onnx":
        save_onnx(model, folder / "model.onnx")
        tokenizer.save(folder, max_length=found, padding_side="left")
        for file in (source / "config.json", generation):
            if file.is_file():
                shutil.copyfile(file, folder / file.name)
    elif form == "gguf":
        if tokenizer.representation.notation != "selfies":
            raise ExportError("--as gguf is for SELFIES, whose symbols llama.cpp can tell apart in a text.")
        tokens = [tokenizer.token(number) for number in range(tokenizer.vocab_size)]
        specials = {key: getattr(tokenizer, f"{key}_id") for key in ("pad", "bos", "eos", "unk")}
        found = save_gguf(model, folder / "model.gguf", tokens, specials, name=name, positions=positions)
        tokenizer.save(folder, max_length=found, padding_side="left")
        return Written(found, None, "llama.cpp is no Python package")
    if not check:
        return Written(found, None, "it was not asked for")
    difference, against = _compare(form, folder, model, found)
    return Written(found, difference, against)


def _compare(form: str, folder: Path, model: ChemGPT, positions: int) -> tuple[float | None, str]:
    """Largest difference of logits between a written form and the model.

    Raises:
        ExportError: more than rounding.
    """
    if form != "onnx" and not importlib.util.find_spec("transformers"):
        return None, "transformers is not installed (pip install 'chemscale[hf]')"
    largest, size = 0.0, 0.0
    theirs = _onnx(folder) if form == "onnx" else _transformers(folder)
    for ids in _sequences(model, positions):
        with torch.inference_mode():
            ours = model.dense(ids)
            difference = (theirs(ids) - ours).abs().max()
        largest, size = max(largest, float(difference)), max(size, float(ours.abs().max()))
    if not largest <= TOLERANCE * max(size, 1.0):
        raise ExportError(
            f"--as {form}: its logits differ from the model's by {largest:.1e}, of {size:.1e} at most. That "
            "is more than rounding, so nothing was written. Please report it, with the versions that "
            "python -m chemscale --version prints."
        )
    by = "onnxruntime" if form == "onnx" else "transformers"
    return largest, f"{by}, sequences of up to {min(positions, 256)} tokens"


def _sequences(model: ChemGPT, positions: int) -> Iterator[Tensor]:
    """Ids to compare on: a few of the length of molecules, and one as long as a local window."""
    generator = torch.Generator().manual_seed(0)
    for number, length in ((CHECKED, min(positions, 40)), (1, min(positions, 256))):
        ids = torch.randint(model.config.vocab_size, (number, length), generator=generator)
        ids[:, 0] = model.config.bos_id
        yield ids


def _onnx(folder: Path) -> Any:
    return lambda ids: torch.from_numpy(
        onnx_logits(folder / "model.onnx", ids.numpy(), torch.ones_like(ids).numpy())
    )


def _transformers(folder: Path) -> Any:
    with _without_bars():
        from transformers import AutoModelForCausalLM  # optional, and slow to import

        theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    return lambda ids: theirs(ids).logits


@contextmanager
def _without_bars() -> Iterator[None]:
    """Without the progress bars that transformers draws over the weights."""
    from transformers.utils import logging as theirs

    shown = theirs.is_progress_bar_enabled()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            theirs.enable_progress_bar()
