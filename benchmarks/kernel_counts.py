"""Operations, kernels and bytes of a training step on a GPU, counted without one; what an H100 would take.

    python benchmarks/kernel_counts.py --write               # all cases, and the table that the tests hold
    python benchmarks/kernel_counts.py painn nequip          # these beside the table
    python benchmarks/kernel_counts.py --markdown            # for the notes
    python benchmarks/kernel_counts.py --top 8 mace-rmd17    # where the GPU's time goes

Every case (``chemscale.testing.fake_cuda.cases``) is a run of three steps through the whole training loop
on fake CUDA tensors; the second step is counted. Milliseconds are a roofline's: for each operation the
longest of its bytes, its FLOPs and the shortest kernel; the host's are those of its launches. `--loop` adds
what a step costs the host beside that (Lightning, step boundary, loader). The step takes the longer of the
two. Needs g++. All cases take about four minutes of one core.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from chemscale.testing.fake_cuda import table
from chemscale.testing.fake_cuda.cases import CASES
from chemscale.testing.fake_cuda.device import run_cases

TABLE = Path(__file__).resolve().parents[1] / "tests" / "testing" / "fake_cuda" / "counts.json"
PEAK = 989e12
"""FLOP/s of an H100 SXM in bf16 (data sheet), which an MFU is a share of."""


def measure(names: list[str], jobs: int) -> dict[str, Any]:
    """Reports by case; cases are dealt out to so many processes."""
    with tempfile.TemporaryDirectory(prefix="chemscale-kernels-") as folder, ThreadPoolExecutor(jobs) as pool:
        parts = [names[start::jobs] for start in range(min(jobs, len(names)))]
        running = [pool.submit(run_cases, part, Path(folder) / str(i)) for i, part in enumerate(parts)]
        found = {name: report for future in running for name, report in future.result().items()}
    return {name: found[name] for name in names}


def row(name: str, report: dict[str, Any], loop: float) -> list[str]:
    """A line of the table of estimates."""
    gpu, host = report["gpu_seconds"], report["host_seconds"] + loop
    seconds = max(gpu, host)
    amount = report["tokens"] or report["atoms"]
    unit = "tokens" if report["tokens"] else "atoms"
    return [
        name,
        f"{report['operations']:,}",
        f"{report['kernels']:,}",
        f"{report['bytes'] / 1e9:.2f}",
        f"{1e3 * gpu:.2f}",
        f"{1e3 * host:.2f}",
        f"{1e3 * seconds:.2f}",
        f"{amount / seconds:,.0f} {unit}/s",
        f"{report['model_flops'] / seconds / PEAK:.2%}",
        str(len(report["waits"])),
    ]


HEAD = ["case", "operations", "kernels", "GB", "GPU ms", "host ms", "step ms", "rate", "MFU (bf16)", "waits"]


def show(rows: list[list[str]], markdown: bool) -> None:
    """Print rows below each other."""
    if markdown:
        for line in (HEAD, ["---"] * len(HEAD), *rows):
            print("| " + " | ".join(line) + " |")
        return
    widths = [max(len(line[i]) for line in (HEAD, *rows)) for i in range(len(HEAD))]
    for line in (HEAD, *rows):
        cells = zip(line, widths, strict=True)
        print(line[0].ljust(widths[0]), *[cell.rjust(width) for cell, width in cells][1:], sep="  ")


def main() -> None:
    """Count, print, compare, and write the table if wanted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help="names; all if none is given")
    parser.add_argument("--write", action="store_true", help=f"update {TABLE.name} by these cases")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--loop", type=float, default=2.0, help="milliseconds of the host beside launches")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--top", type=int, default=0, help="operations of each case that take longest")
    given = parser.parse_args()
    if unknown := sorted(set(given.cases) - set(CASES)):
        parser.error(f"{', '.join(unknown)}: choose of {', '.join(CASES)}")
    names = given.cases or list(CASES)
    reports = measure(names, given.jobs)
    failed = {name: report for name, report in reports.items() if "error" in report}
    good = {name: report for name, report in reports.items() if name not in failed}
    show([row(name, report, given.loop / 1e3) for name, report in good.items()], given.markdown)
    for name, report in good.items():
        for what, count in report["waits"].items():
            print(f"{name} waits: {what} ({count} times)")
        for operation, count, milliseconds in report["top"][: given.top]:
            print(f"{name}: {operation} × {count}: {milliseconds:.2f} ms")
    for name, report in failed.items():
        print(f"{name} FAILED:\n{report['error'][-1500:]}")
    held = table.read(TABLE)
    for line in table.compare(held, good):
        print(line)
    if given.write:
        table.write(TABLE, held, good, whole=not given.cases and not failed)
        print(f"wrote {TABLE}")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
