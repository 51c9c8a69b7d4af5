"""Predictions of the model of scaling beside published tables: the fall of MFU over 8 to 512 GPUs.

    python benchmarks/scaling_efficiency.py [--fit]

Each block takes the MFU of its first row as given, removes the communication that the model sees in it, and
predicts the other rows. ``--fit`` finds the one fitted constant anew from the blocks that are marked. Nothing
is measured here.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from chemscale.hardware import communication
from chemscale.hardware.accelerators import accelerator
from chemscale.hardware.communication import PUBLISHED, Cluster, Published


def errors(table: Published) -> list[float]:
    """Predicted over published, less one, of all rows but the first."""
    known = replace(Cluster.of(accelerator(table.gpu), table.gpu), network=table.network)
    return [found / row[3] - 1 for found, row in zip(table.predicted(known)[1:], table.rows[1:], strict=True)]


def fit() -> tuple[float, float]:
    """The constant with the least squares on the marked blocks, and their root mean square."""
    kept = communication.OVERLAP_COST
    tried = {}
    for cost in np.arange(0, 1.001, 0.01):
        communication.OVERLAP_COST = float(cost)
        left = np.array([e for table in PUBLISHED if table.fitted for e in errors(table)])
        tried[float(cost)] = float(np.sqrt((left**2).mean()))
    communication.OVERLAP_COST = kept
    best = min(tried, key=tried.__getitem__)
    return best, tried[best]


def main() -> None:
    """Print predictions beside the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    print(f"{'model':14}{'GPU':11}{'GPUs':>5}{'published':>11}{'model':>8}{'error':>8}")
    for table in PUBLISHED:
        known = replace(Cluster.of(accelerator(table.gpu), table.gpu), network=table.network)
        for row, found in zip(table.rows, table.predicted(known), strict=True):
            print(
                f"{table.name:14}{table.gpu:11}{row[0]:5}{row[3]:11.2%}{found:8.2%}{found / row[3] - 1:+8.1%}"
                + ("   given" if row is table.rows[0] else "   fitted" if table.fitted else "")
            )
    for words, chosen in (("fitted", True), ("not fitted", False)):
        left = np.array([e for table in PUBLISHED if table.fitted is chosen for e in errors(table)])
        print(
            f"{words}: {len(left)} rows, root mean square {np.sqrt((left**2).mean()):.1%}, "
            f"mean {left.mean():+.1%}, worst {left[np.abs(left).argmax()]:+.1%}"
        )
    if options.fit:
        best, rms = fit()
        print(
            f"best overlap cost: {best:.2f} (root mean square {rms:.1%}); used: {communication.OVERLAP_COST}"
        )


if __name__ == "__main__":
    main()
