"""Molecules a second and peak memory of ``embed`` and ``score`` on a file, and what batches change.

    python benchmarks/embedding.py FILE [--run RUN] [--rows 100000] [--width 128 --layers 24 --heads 16]

Without --run a model of random weights is made with the symbols of the first rows. Each number of rows is
embedded in a process of its own, for its peak memory (of the process that holds the model). A straight line
through the peaks says what a million rows would take, which is not run. Then a thousand rows in another order
and in batches of 64 to 65,536 symbols: the largest difference of any number of any vector.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ONE = """
import json, resource, sys, time
from chemscale.molecules.representation.run import embed, score
verb, run, source, out = sys.argv[1:]
before, begin = time.process_time(), time.monotonic()
done = {"embed": embed, "score": score}[verb](run, source, out, keep="none", progress=True)
print(json.dumps({
    "rows": done.counts.rows, "done": done.counts.done, "seconds": time.monotonic() - begin,
    "cpu": time.process_time() - before,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def main() -> None:
    """Print one line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--heads", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = first_lines(options.file, options.rows)
        run = options.run or random_model(folder / "model", lines[:5000], options)
        peaks = []
        for verb, rows in (("embed", options.rows // 10), ("embed", options.rows), ("score", options.rows)):
            found = measure(verb, run, lines[:rows], folder)
            if verb == "embed":
                peaks.append((found["rows"], found["peak"]))
            rate, core = found["rows"] / found["seconds"], found["rows"] / found["cpu"]
            print(
                f"{verb} {found['done']:,} of {found['rows']:,} rows: {rate:,.0f} molecules/s, "
                f"{core:,.0f} a second of one core, peak {found['peak']:,.0f} MiB"
            )
        (a, low), (b, high) = peaks
        print(f"a million rows by a straight line: {high + (1e6 - b) * (high - low) / (b - a):,.0f} MiB")
        print(f"largest difference {difference(run, lines[:1000]):.2e}")


def first_lines(path: Path, rows: int) -> list[str]:
    """SMILES of the first rows of a file."""
    from chemscale.molecules.representation.table import MoleculeTable

    return [row.text for row in itertools.islice(MoleculeTable(path).rows(), rows)]


def random_model(folder: Path, smiles: list[str], options: argparse.Namespace) -> Path:
    """A ChemGPT of random weights whose vocabulary is that of the molecules."""
    import selfies
    import torch

    from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
    from chemscale.molecules.loading import save_trained
    from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer

    symbols: set[str] = set()
    for text in smiles:
        try:
            symbols.update(selfies.split_selfies(selfies.encoder(text)))
        except selfies.EncoderError:
            continue
    tokenizer = SelfiesTokenizer.from_symbols(symbols, stereo=True)
    torch.manual_seed(0)
    config = ChemGPTConfig(tokenizer.vocab_size, options.width, options.layers, options.heads)
    save_trained(ChemGPT(config), tokenizer, folder, name="random", block=512)
    return folder


def measure(verb: str, run: Path, smiles: list[str], folder: Path) -> dict[str, float]:
    """What one call took, in a process of its own."""
    source, out = folder / "in.smi", folder / "out.parquet"
    source.write_text("\n".join(smiles) + "\n")
    out.unlink(missing_ok=True)
    command = [sys.executable, "-c", ONE, verb, str(run), str(source), str(out)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def difference(run: Path, smiles: list[str]) -> float:
    """Largest difference of a vector between orders and batches."""
    from chemscale.molecules.representation.run import embed

    expected = embed(run, smiles).matrix()
    largest = 0.0
    for batch in (64, 512, 4096, 65_536):
        order = np.random.default_rng(batch).permutation(len(smiles))
        again = embed(run, [smiles[i] for i in order], batch=batch).matrix()
        largest = max(largest, float(np.nanmax(np.abs(again - expected[order]))))
    return largest


if __name__ == "__main__":
    main()
