"""Outputs of codes as they come: which steps converged, and which files of a run are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ase.io.formats import open_with_compression


@dataclass(frozen=True)
class RunState:
    """What an output says of its run.

    Args:
        unconverged: frames whose self-consistency was not reached, counted as ASE counts them.
        finished: whether the code came to its end.
    """

    unconverged: frozenset[int]
    finished: bool

    def notes(self) -> Iterator[str]:
        """What there is to say of it, in sentences."""
        if self.unconverged:
            yield (
                f"{len(self.unconverged)} frames (the first: {min(self.unconverged)}) did not reach "
                "self-consistency: their labels were not read."
            )
        if not self.finished:
            yield "The output ends before its run does: what stands in it whole was read."


def run_state(path: Path, format: str) -> RunState | None:
    """Look through an output for steps that did not converge and for its end; None of other formats.

    Args:
        path: of the output, which may be compressed as ASE reads it.
        format: ASE's name of it.
    """
    scan = _SCANS.get(format)
    if scan is None:
        return None
    with open_with_compression(str(path), "r") as file:
        unconverged, finished = scan(file)
    return RunState(frozenset(unconverged), finished)


def _outcar(lines: Iterable[str]) -> tuple[set[int], bool]:
    unconverged: set[int] = set()
    frame, reached, finished = 0, False, False
    for line in lines:
        if "aborting loop" in line:  # VASP 6 also writes it where EDIFF was not reached
            reached = "EDIFF is reached" in line
        elif "FREE ENERGIE OF THE ION-ELECTRON SYSTEM" in line:
            if not reached:
                unconverged.add(frame)
            frame, reached = frame + 1, False
        finished = finished or "General timing and accounting" in line
    return unconverged, finished


def _vasprun(lines: Iterable[str]) -> tuple[set[int], bool]:
    unconverged: set[int] = set()
    frame = steps = limit = 0
    finished = False
    for line in lines:
        if found := re.search(r'name="NELM"\s*>\s*(\d+)', line):
            limit = limit or int(found[1])
        steps += "<scstep>" in line
        if "</calculation>" in line:
            if 1 < limit <= steps:
                unconverged.add(frame)
            frame, steps = frame + 1, 0
        finished = finished or "</modeling>" in line
    return unconverged, finished


def _orca(lines: Iterable[str]) -> tuple[set[int], bool]:
    unconverged: set[int] = set()
    frame, finished = 0, False
    for line in lines:
        if "SCF NOT CONVERGED" in line or "not fully converged" in line:
            unconverged.add(frame)
        if "ORCA GEOMETRY RELAXATION STEP" in line:
            frame += 1
        finished = finished or "ORCA TERMINATED NORMALLY" in line
    return unconverged, finished


def _gaussian(lines: Iterable[str]) -> tuple[set[int], bool]:
    unconverged: set[int] = set()
    frame, finished = 0, False
    for line in lines:
        if "Convergence criterion not met" in line or "Convergence failure" in line:
            unconverged.add(frame)
        if line.startswith(" SCF Done:"):
            frame += 1
        finished = "Normal termination" in line or (finished and "Entering Gaussian" not in line)
    return {min(each, max(frame - 1, 0)) for each in unconverged}, finished


def _aims(lines: Iterable[str]) -> tuple[set[int], bool]:
    return set(), any("Have a nice day" in line for line in lines)  # ASE refuses what did not converge


_SCANS: dict[str, Callable[[Iterable[str]], tuple[set[int], bool]]] = {
    "vasp-out": _outcar,
    "vasp-xml": _vasprun,
    "orca-output": _orca,
    "gaussian-out": _gaussian,
    "aims-output": _aims,
}

_OUTCAR = re.compile(r"OUTCAR", re.I)
_XML = re.compile(r"vasp.*\.xml", re.I)
_GEOMETRY = re.compile(r"POSCAR|CONTCAR|CENTCAR|XDATCAR")


def superfluous(path: Path, beside: Iterable[Path]) -> str | None:
    """Why a file of a VASP run is not read from its folder; None where it is.

    Args:
        path: of the file.
        beside: all files of a folder or a pattern.
    """
    outcar = _OUTCAR.search(path.name)
    if not outcar and not _GEOMETRY.search(path.name):
        return None
    others = [other for other in beside if other.parent == path.parent and other != path]
    if outcar:
        same = [other for other in others if _XML.search(other.name) and _tag(other) == _tag(path)]
        return f"{same[0].name} is of the same run" if same else None
    outputs = [other for other in others if _OUTCAR.search(other.name) or _XML.search(other.name)]
    return f"positions without labels beside {outputs[0].name}" if outputs else None


def _tag(path: Path) -> str:
    """What tells one run of a folder from another, 2 of OUTCAR.2.gz and of vasprun_2.xml."""
    name = re.sub(r"\.(gz|bz2|xz)$", "", path.name)
    return re.sub(r"OUTCAR|vasp(run)?|xml|[._-]", "", name, flags=re.I)
