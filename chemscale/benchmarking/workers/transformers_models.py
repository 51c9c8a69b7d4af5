"""transformers' GPT-Neo in turns: training padded to the longest of a batch or to 512, and generation."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import GPTNeoConfig, GPTNeoForCausalLM
from turns import Turns, arguments, serve

BEGIN, END = 1, 2


def model_of(work: dict[str, Any]) -> GPTNeoForCausalLM:
    """A ChemGPT of fresh weights as transformers has it.

    Args:
        work: ``vocabulary``, ``width``, ``layers`` and ``heads``.
    """
    return GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=work["vocabulary"],
            max_position_embeddings=2048,
            hidden_size=work["width"],
            num_layers=work["layers"],
            num_heads=work["heads"],
            attention_types=[[["global", "local"], work["layers"] // 2]],
            window_size=256,
            resid_dropout=0.0,
            embed_dropout=0.0,
            attention_dropout=0.0,
            bos_token_id=BEGIN,
            eos_token_id=END,
            pad_token_id=0,
        )
    )


def training_step(work: dict[str, Any], model: GPTNeoForCausalLM, device: str) -> Callable[[], float]:
    """Its own loss, backward pass, clipping and AdamW; it returns its molecules.

    Args:
        work: ``file`` (rows of symbol ids), ``rows`` of a step, ``pad_to``, ``precision``.
        model: on its device.
        device: cpu or cuda.
    """
    rows = itertools.cycle(json.loads(Path(work["file"]).read_text())["molecules"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    model.train()

    def step() -> float:
        molecules = [[BEGIN, *row, END] for row in itertools.islice(rows, work["rows"])]
        width = work["pad_to"] or max(map(len, molecules))
        ids = torch.tensor([m + [0] * (width - len(m)) for m in molecules]).to(device)
        mask = torch.tensor([[1] * len(m) + [0] * (width - len(m)) for m in molecules]).to(device)
        with torch.autocast(device, torch.bfloat16, enabled=work["precision"] == "bf16-mixed"):
            loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(len(molecules))

    return step


def generation_step(work: dict[str, Any], model: GPTNeoForCausalLM, device: str) -> Callable[[], float]:
    """Drawing one batch of sequences; it returns their symbols, those after an end left out.

    Args:
        work: ``batch`` and ``longest``.
        model: on its device.
        device: cpu or cuda.
    """
    model.eval()
    start = torch.full((work["batch"], 1), BEGIN, device=device)

    def step() -> float:
        with torch.inference_mode():
            drawn = model.generate(
                start,
                attention_mask=torch.ones_like(start),
                do_sample=True,
                top_k=0,
                max_new_tokens=work["longest"],
                suppress_tokens=[0, BEGIN],
            )[:, 1:]
        ended = (drawn == END).cumsum(1) - (drawn == END).int()
        return float((ended == 0).sum())

    return step


def main() -> None:
    options = arguments(__doc__ or "")
    work = options.work
    turns = Turns(options.device, options.warmup)
    if work["precision"] == "tf32":
        torch.set_float32_matmul_precision("high")
    model = model_of(work).to(options.device)
    kinds = {"training": training_step, "generation": generation_step}
    step = kinds[work["kind"]](work, model, options.device)
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    parameters = sum(p.numel() for p in model.parameters() if id(p) not in tables)
    facts = {"version": transformers.__version__, "parameters": parameters}
    serve(turns, step, facts, count=work["kind"] == "training")


if __name__ == "__main__":
    main()
