"""A trained language model of molecules and its tokenizer, from the folder of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from chemscale.hardware.devices import named_device
from chemscale.models.chemgpt import ChemGPT
from chemscale.models.chemgpt_hf import load_pretrained
from chemscale.molecules.tokenizers.published import ChemGPTTokenizer
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer, TokenizerError
from chemscale.records import find_run


def load_trained(run: Path, device: str = "auto") -> tuple[ChemGPT, SelfiesTokenizer | ChemGPTTokenizer]:
    """Open the model and the tokenizer of a run, or of a saved folder.

    Args:
        run: directory of a finished point, RUNS/SWEEP/NAME, or a folder with a model.
        device: cpu, cuda, cuda:N, or auto: the GPU if there is one.

    Raises:
        ValueError: there is no trained model, or no such device.
    """
    place = named_device(device)
    run = find_run(run)
    folder = run / "model" if (run / "model").is_dir() else run
    if (run / "record.json").exists() and folder == run:
        raise ValueError(
            f"{run}: this point has no model yet; run the command that made it until it is done."
        )
    model = load_pretrained(folder).to(place).eval()
    try:
        tokenizer: SelfiesTokenizer | ChemGPTTokenizer = SelfiesTokenizer.load(folder)
    except TokenizerError:
        tokenizer = ChemGPTTokenizer.load(folder)
    # The published models name a begin and an end outside their vocabulary: the tokenizer knows better.
    ids = {"pad_id": tokenizer.pad_id, "bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id}
    model.config = replace(model.config, **ids)
    return model, tokenizer
