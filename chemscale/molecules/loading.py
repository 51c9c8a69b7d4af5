"""A trained language model of molecules and its tokenizer in one folder; refused where they do not match."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from string import Template

from chemscale.common.files import write_json
from chemscale.hardware.devices import named_device
from chemscale.models.chemgpt import ChemGPT
from chemscale.models.chemgpt_hf import load_pretrained, save_pretrained
from chemscale.molecules.conditions import banned_ids
from chemscale.molecules.conditions.card import conditions_card
from chemscale.molecules.tokenizers.opening import AnyTokenizer, load_tokenizer
from chemscale.molecules.tokenizers.tokenizer import TokenizerError, write_text
from chemscale.records import find_run

CARD = Template("""---
library_name: transformers
pipeline_tag: text-generation
tags: [chemistry, $notation, chemgpt]
---
# $name

A GPT-Neo (ChemGPT) of molecules as $title: $parameters parameters, $vocabulary tokens, molecules of up to
$block positions in training. Made by chemscale.

A molecule is `$bos … $eos`, and a prompt begins with `$bos`; the tokenizer adds both, so take the end away:

```python
batch = tokenizer($prompts, return_tensors="pt", padding=True)
prompt = {key: batch[key][:, :-1] for key in ("input_ids", "attention_mask")}
tokenizer.batch_decode(model.generate(**prompt, do_sample=True), skip_special_tokens=True)
```

It pads on the left, as `generate` needs, which counts positions from the first token that is not padding. A
plain forward pass of GPT-Neo does not: left padding changes its hidden states and losses. For these pad on
the right (`tokenizer.padding_side = "right"`), or give
`position_ids=(batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)`.
""")


def load_trained(run: Path, device: str = "auto") -> tuple[ChemGPT, AnyTokenizer]:
    """Open the model and the tokenizer of a run, or of a saved folder.

    Args:
        run: directory of a finished point, RUNS/SWEEP/NAME, or a folder with a model.
        device: cpu, cuda, cuda:N, or auto: the GPU if there is one.

    Raises:
        ValueError: there is no trained model or no such device, or the tokenizer there is another one.
    """
    place = named_device(device)
    run = find_run(run)
    folder = run / "model" if (run / "model").is_dir() else run
    if (run / "record.json").exists() and folder == run:
        raise ValueError(
            f"{run}: this point has no model yet; run the command that made it until it is done."
        )
    model = load_pretrained(folder).to(place).eval()
    tokenizer = load_tokenizer(folder)
    made_with = json.loads((folder / "config.json").read_text()).get("chemscale", {}).get("vocabulary")
    if made_with not in (None, tokenizer.hash) or tokenizer.vocab_size != model.config.vocab_size:
        raise TokenizerError(
            f"{folder}: the tokenizer there ({tokenizer.vocab_size} tokens) is not the one that these "
            f"weights were trained with ({model.config.vocab_size} tokens). Put back its files, or export "
            "the run again."
        )
    # The published models name a begin and an end outside their vocabulary: the tokenizer knows better.
    ids = {"pad_id": tokenizer.pad_id, "bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id}
    model.config = replace(model.config, **ids)
    return model, tokenizer


def suppress_in_transformers(folder: Path, tokenizer: AnyTokenizer) -> None:
    """Say in ``generation_config.json`` that nothing is drawn that is no symbol, as our sampler has it.

    Args:
        folder: of a model that ``transformers`` opens.
        tokenizer: of it.
    """
    file = folder / "generation_config.json"
    never = [tokenizer.pad_id, tokenizer.bos_id, *banned_ids(tokenizer)]
    write_json(file, json.loads(file.read_text()) | {"suppress_tokens": never})


def save_trained(model: ChemGPT, tokenizer: AnyTokenizer, folder: Path, *, name: str, block: int) -> None:
    """Write a Hugging Face folder: weights, tokenizer, and a card that says how to use them.

    Args:
        model: what is saved.
        tokenizer: that it was trained with.
        folder: of the files; it is made.
        name: of the run, for the card.
        block: positions of a block in training, where a generation ends.
    """
    config = model.config
    save_pretrained(
        model, folder, max_length=block, extra={"chemscale": {"name": name, "vocabulary": tokenizer.hash}}
    )
    tokenizer.save(folder, max_length=config.max_positions, padding_side="left")
    suppress_in_transformers(folder, tokenizer)
    bos, eos = (tokenizer.token(i) for i in (tokenizer.bos_id, tokenizer.eos_id))
    of = tokenizer.representation
    prompts = '["[C][C]", "[C][=C][C]"]' if of.notation == "selfies" else '["CC", "C=CC"]'
    values = {"name": name, "block": block, "bos": bos, "eos": eos, "vocabulary": tokenizer.vocab_size}
    values |= {"notation": of.notation, "title": of.title, "prompts": prompts}
    card = CARD.substitute(values, parameters=f"{config.parameter_counts()['all']:,}")
    write_text(folder / "README.md", card + conditions_card(tokenizer))
