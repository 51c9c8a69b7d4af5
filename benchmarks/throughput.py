"""Training throughput of ChemGPT-4.7M against transformers' GPT-Neo on the same molecules, in one run.

    python benchmarks/throughput.py FILE [--molecules 1024] [--seconds 30] [--bf16]

Four ways to train on the same molecules in the same order, with AdamW and clipping, each repeated in turns:
ours packed; transformers padded to the longest of a batch of 64; transformers padded to 512 at batch 16 (the
paper's recipe); and, with --bf16, ours in bfloat16 autocast. Prints molecules/s (median of the turns).
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import GPTNeoForCausalLM

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.chemgpt_hf import save_pretrained
from chemscale.molecules.batches import TrainingBatches
from chemscale.molecules.corpus import Corpus
from chemscale.molecules.packing import BlockPlan
from chemscale.molecules.preparation.build import build_corpus
from chemscale.tasks.optimisation import AdamW

Step = Callable[[], int]


def ours(corpus: Corpus, config: ChemGPTConfig, autocast: bool) -> Step:
    """Our training step on blocks of 512, about 64 molecules a step; it returns its molecules.

    Args:
        corpus: what is trained on.
        config: shape of the model.
        autocast: whether in bfloat16.
    """
    model = ChemGPT(config)
    optimizer = AdamW(1e-4).build(model)
    plan = BlockPlan(np.asarray(corpus.train.lengths).astype(np.int64) + 1, block=512, seed=0)
    batches = TrainingBatches(corpus.train, plan, blocks=5, accumulate=1, bos_id=1, eos_id=2)
    numbers = itertools.count()

    def step() -> int:
        batch = batches[next(numbers)]
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(batch.tokens, batch.positions, batch.documents)
        finish(F.cross_entropy(logits.float(), batch.targets), model, optimizer)
        return batch.molecules

    return step


def theirs(corpus: Corpus, folder: Path, rows: int, pad_to: int | None) -> Step:
    """A training step of transformers' GPT-Neo, its own loss, rows padded on the right.

    Args:
        corpus: what is trained on.
        folder: of the model.
        rows: molecules of a step.
        pad_to: tokens of a row; None for the longest of the step.
    """
    model = GPTNeoForCausalLM.from_pretrained(folder)
    model.train()
    optimizer = AdamW(1e-4).build(model)
    order = endless(len(corpus.train))

    def step() -> int:
        molecules = [[1, *corpus.train.tokens(i).tolist(), 2] for i in itertools.islice(order, rows)]
        width = pad_to or max(map(len, molecules))
        ids = torch.tensor([m + [0] * (width - len(m)) for m in molecules])
        mask = torch.tensor([[1] * len(m) + [0] * (width - len(m)) for m in molecules])
        out = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100))
        finish(out.loss, model, optimizer)
        return rows

    return step


def endless(n: int) -> Iterator[int]:
    """Numbers below n in one random order, again and again."""
    return itertools.cycle(np.random.default_rng(0).permutation(n).tolist())


def finish(loss: torch.Tensor, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Backward pass, clipping and the optimizer's step."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def rate(step: Step, seconds: float) -> float:
    """Molecules a second.

    Args:
        step: returns its molecules.
        seconds: how long it is repeated at least; two steps in any case.
    """
    started, molecules = time.perf_counter(), 0
    for number in itertools.count(1):
        molecules += step()
        elapsed = time.perf_counter() - started
        if number >= 2 and elapsed >= seconds:
            return molecules / elapsed
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="SMILES in any format that prepare reads")
    parser.add_argument("--molecules", type=int, default=4096)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=15, help="of each way in each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--no-512", action="store_true", help="leave out the paper's recipe, which is slow")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        opener = gzip.open if options.file.suffix == ".gz" else open
        with opener(options.file, "rt") as file:
            lines = list(itertools.islice(file, options.molecules))
        head = Path(folder) / "head.smi"
        head.write_text("".join(lines))
        corpus = build_corpus([head], Path(folder) / "corpus")
        config = ChemGPTConfig(corpus.tokenizer.vocab_size, options.width)
        save_pretrained(ChemGPT(config), Path(folder) / "model")
        ways = {
            "chemscale, packed, float32": ours(corpus, config, False),
            "transformers, batch 64, padded to the longest": theirs(corpus, Path(folder) / "model", 64, None),
        }
        if not options.no_512:
            ways["transformers, batch 16, padded to 512"] = theirs(corpus, Path(folder) / "model", 16, 512)
        if options.bf16:
            ways["chemscale, packed, bfloat16"] = ours(corpus, config, True)
        report(ways, options)


def report(ways: dict[str, Step], options: argparse.Namespace) -> None:
    """Time each way in turns and print its rate beside the first one's."""
    for step in ways.values():
        step()
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.turns):
        for name, step in ways.items():
            rates[name].append(rate(step, options.seconds))
    base = statistics.median(next(iter(rates.values())))
    print(f"{options.threads} threads, width {options.width}, {options.turns} turns of {options.seconds:g} s")
    for name, values in rates.items():
        middle = statistics.median(values)
        spread = f"({min(values):.2f} to {max(values):.2f})"
        print(f"{middle:9.2f} molecules/s  {base / middle:7.2f}×  {name}  {spread}")


if __name__ == "__main__":
    main()
