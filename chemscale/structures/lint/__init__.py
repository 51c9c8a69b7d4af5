"""The data linter: what is wrong with labelled structures, found before anything is trained on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from chemscale.structures.blocks import Block
from chemscale.structures.lint.counting import Counted, count
from chemscale.structures.lint.findings import CHECKS, Finding
from chemscale.structures.lint.labels import label_findings
from chemscale.structures.lint.lengths import length_findings
from chemscale.structures.lint.outliers import outlier_findings

__all__ = ["CHECKS", "Finding", "lint", "report"]


def lint(
    parts: Mapping[str, Callable[[], Iterator[Block]]], *, sample: int = 2000, seed: int = 0
) -> list[Finding]:
    """Check labelled structures for faults, in bounded memory.

    Missing labels, duplicates, leakage, elements, close atoms and net forces are looked for in every frame;
    units, signs and outliers in a reproducible sample (signs and units of molecules only: frames of a crystal
    cannot be superposed without knowing which images belong together).

    Args:
        parts: "train", "validation", "test" (any of them) to a function that iterates over its blocks.
        sample: frames for the checks that compare frames with each other.
        seed: of the sample.
    """
    counted = {name: count(blocks(), sample, seed) for name, blocks in parts.items()}
    findings = [finding for part in counted.values() for finding in part.findings()]
    findings += _across(counted)
    known = counted.get("train") or next(iter(counted.values()))
    molecules = [group for group in known.sample if not group.periodic]
    lengths = length_findings(molecules)
    findings += lengths
    # Wrong lengths make every comparison of energies and forces wrong as well: one error, not five.
    if not any(f.severity == "error" for f in lengths):
        findings += label_findings(molecules)
    return findings + outlier_findings(known.sample)


def _across(counted: dict[str, Counted]) -> list[Finding]:
    """Findings about one part beside the training part: leakage, and elements that it lacks."""
    train = counted.get("train")
    if train is None:
        return []
    findings = []
    for name, part in counted.items():
        if name == "train":
            continue
        findings += train.leakage_into(part, name)
        missing = sorted(set(part.elements) - set(train.elements))
        if missing:
            findings.append(
                Finding(
                    "element coverage",
                    "error",
                    f"The {name} part holds elements Z = {missing} that no training frame has: a "
                    "potential cannot know them. Split by frame (data.split_by=frame) or leave those "
                    "frames out.",
                )
            )
    return findings


def report(findings: list[Finding]) -> list[str]:
    """Format findings as lines, worst first, and one that names the checks that found nothing."""
    order = {"error": 0, "warning": 1, "note": 2}
    lines = [
        f"{f.severity.upper() if f.severity != 'note' else 'note'} · {f.check}: {f.message}"
        for f in sorted(findings, key=lambda f: order[f.severity])
    ]
    clean = [c for c in CHECKS if not any(f.check == c and f.severity != "note" for f in findings)]
    if clean:
        lines.append(f"ok · {', '.join(clean)}")
    return lines
