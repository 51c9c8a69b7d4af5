"""Speed of preparation beside the bare SELFIES encoder, over workers, and its peak memory.

python benchmarks/prepare.py FILE [--rows 40000] [--workers 1 2]
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import resource
import tempfile
import time
from pathlib import Path

import selfies

from chemscale.molecules.preparation.build import build_corpus


def bare(lines: list[str]) -> float:
    """Molecules a second of a loop that does nothing but encode.

    Args:
        lines: of SMILES.
    """
    started, encoded = time.perf_counter(), 0
    for line in lines:
        try:
            selfies.encoder(line.split()[0])
            encoded += 1
        except selfies.EncoderError:
            continue
    return encoded / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=None, help="only the first so many; else all")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    opener = gzip.open if options.file.suffix == ".gz" else open
    with opener(options.file, "rt") as file:
        lines = list(itertools.islice(file, options.rows))
    print(f"{len(lines):,} rows")
    print(f"bare selfies.encoder  {bare(lines[:20_000]):9,.0f} molecules/s on one core (first 20,000)")
    first = None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.smi"
        path.write_text("".join(lines))
        del lines
        for workers in options.workers:
            started = time.perf_counter()
            corpus = build_corpus([path], Path(folder) / f"corpus-{workers}", workers=workers)
            seconds = time.perf_counter() - started
            rate = corpus.manifest["counts"]["rows"] / seconds
            first = first or rate
            print(
                f"prepare, {workers} worker(s)  {rate:9,.0f} molecules/s, {rate / workers:7,.0f} a core, "
                f"{rate / first:.2f}× of the first, {seconds:.0f} s"
            )
    for who, name in ((resource.RUSAGE_SELF, "this process"), (resource.RUSAGE_CHILDREN, "largest worker")):
        print(f"peak memory of {name}: {resource.getrusage(who).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()
