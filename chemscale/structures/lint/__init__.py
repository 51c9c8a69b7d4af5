"""The data linter: what is wrong with labelled structures, found before anything is trained on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from chemscale.structures.blocks import Block
from chemscale.structures.lint.counting import Counted, count
from chemscale.structures.lint.findings import CHECKS, NOT_CHECKED, Finding, not_checked, report, verdicts
from chemscale.structures.lint.labels import LABELS, label_findings
from chemscale.structures.lint.lengths import length_findings
from chemscale.structures.lint.outliers import outlier_findings
from chemscale.structures.lint.precision import precision_findings
from chemscale.structures.lint.stresses import stress_findings

BLINDING = ("length unit", "zero forces", "constant labels")
"""Checks whose errors leave nothing to compare."""

__all__ = ["CHECKS", "Finding", "lint", "report", "verdicts"]


@np.errstate(over="ignore", invalid="ignore")  # a label of 1e300 is found, not stumbled over
def lint(
    parts: Mapping[str, Callable[[], Iterator[Block]]], *, sample: int = 2000, seed: int = 0
) -> list[Finding]:
    """Check labelled structures for faults, in bounded memory.

    Missing, zero and constant labels, duplicates, leakage, elements, close atoms and net forces are looked
    for in every frame; units, signs, precision and outliers in a reproducible sample. A check that the data
    do not allow is a finding too: "not checked", with the reason.

    Args:
        parts: "train", "validation", "test" (any of them) to a function that iterates over its blocks.
        sample: frames for the checks that compare frames with each other.
        seed: of the sample.
    """
    counted = {name: count(blocks(), sample, seed) for name, blocks in parts.items()}
    counted = {name: part for name, part in counted.items() if len(part.frames)}
    if not counted:
        return [not_checked(check, "no frames") for check in CHECKS]
    findings = _of_parts({name: part.findings() for name, part in counted.items()})
    findings += _across(counted)
    known = counted.get("train") or next(iter(counted.values()))
    findings += precision_findings(known.sample)
    lengths = length_findings(known.sample)
    findings += lengths
    # Wrong lengths make every comparison of energies and forces wrong as well, and so do labels that do not
    # change: one error, not five.
    blind = [f.check for f in findings if f.severity == "error" and f.check in BLINDING]
    if blind:
        findings += [not_checked(check, f"after the error in {blind[0]}") for check in LABELS]
    else:
        findings += label_findings(known.sample)
    findings += _of_stresses(counted, known, findings)
    return findings + outlier_findings(known.sample)


def _of_stresses(counted: dict[str, Counted], known: Counted, found: list[Finding]) -> list[Finding]:
    """Findings about stresses, which are compared where the other labels are sound as far as can be seen."""
    wrong = [f.check for f in found if f.severity == "error" and f.check in (*BLINDING, *LABELS)]
    if wrong and any(part.stresses.known for part in counted.values()):
        return [not_checked("stress", f"after the error in {wrong[0]}")]
    if any(f.check == "stress" and f.severity in ("error", NOT_CHECKED) for f in found):
        return []  # placeholders, or none at all
    return stress_findings(known.sample)


def _of_parts(found: dict[str, list[Finding]]) -> list[Finding]:
    """Findings of every part; a check is missing only where no part allowed it."""
    findings = []
    for part, own in found.items():
        for f in own:
            everywhere = all(
                any(o.check == f.check and o.severity == f.severity for o in p) for p in found.values()
            )
            if f.severity != NOT_CHECKED:
                place = "" if part == "train" or len(found) == 1 else f"In the {part} part: "
                findings.append(replace(f, message=place + f.message))
            elif everywhere and f not in findings:
                findings.append(f)
    return findings


def _across(counted: dict[str, Counted]) -> list[Finding]:
    """Findings about one part beside the training part: leakage, and elements that it lacks."""
    train = counted.get("train")
    if train is None or len(counted) < 2:
        alone = "training part" if train is not None else next(iter(counted))
        return [not_checked("leakage", f"one part only ({alone})")]
    findings = []
    for name, part in counted.items():
        if name == "train":
            continue
        findings += train.frames.leakage_into(part.frames, name)
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
