"""A point as the page shows it: its record and the end of its curve, or why they cannot be read."""

from __future__ import annotations

import math
import os
import stat
import time
from pathlib import Path
from typing import Any

from chemscale.dashboards.local.curves import Curve, is_number
from chemscale.records import RECORD_NAME, RunRecord, State

SILENT_S = 600.0
"""Seconds without a new line after which a running point is called silent, or ten of its own intervals."""
BROKEN, SILENT, WAITING, CANCELLED = "unreadable", "silent", "waiting", "cancelled"
STATES = (
    State.DONE.value, State.RUNNING.value, SILENT, State.FAILED.value, BROKEN, State.PREEMPTED.value,
    State.PAUSED.value, State.STOPPED.value, State.PLANNED.value, WAITING, CANCELLED,
)  # fmt: skip
"""States of the page: those of records, and four that only a reader can see."""
RATES = ("tokens", "atoms", "frames")

NUMBERS = {
    "seed", "seen", "epochs", "steps", "planned", "best", "attempts", "skipped", "rate", "mfu", "padding",
    "data_wait", "memory", "left", "spent", "inherited", "device_seconds",
}  # fmt: skip

Stamp = tuple[float, int, int]


def stamp(path: Path) -> Stamp | None:
    """What changes when a file does: time, size, inode; None where it cannot be seen, or has no end."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):  # to read a pipe would stop the page
        return None
    return status.st_mtime, status.st_size, status.st_ino


class Point:
    """One directory with a record, read again only when its files changed."""

    def __init__(self, directory: Path):
        self.directory = Path(directory)
        self.record: RunRecord | None = None
        self.problem = ""
        self.curve = Curve(self.directory / "metrics.jsonl")
        self.curve_loaded = False
        self._stamp: Stamp | None = None

    def look(self, found: Stamp) -> bool:
        """Take in what changed.

        Args:
            found: stamp of the record.

        Returns:
            Whether anything did.
        """
        changed = found != self._stamp
        if changed:
            self._stamp = found
            self._read()
        running = self.record is not None and self.record.state is State.RUNNING
        if running or (changed and self.curve_loaded):
            changed |= self.load_curve()
        return changed

    def load_curve(self) -> bool:
        """Read what is new of the curve; whether anything was."""
        self.curve_loaded = True
        return self.curve.read()

    def _read(self) -> None:
        try:
            self.record, self.problem = RunRecord.load(self.directory / RECORD_NAME), ""
            curve = self.directory / str(self.record.curve)
            if curve != self.curve.path and curve.resolve().is_relative_to(self.directory.resolve()):
                self.curve, self.curve_loaded = Curve(curve), False
        except Exception as error:  # whatever stands in the file, the page goes on
            self.record, self.problem = None, f"{error}" or type(error).__name__

    @property
    def moved(self) -> float:
        """When the record or the curve last changed, seconds of the epoch."""
        return max(self._stamp[0] if self._stamp else 0.0, self.curve.moved)

    def row(self, now: float | None = None) -> dict[str, Any]:
        """What the page shows of it; a record whose values make no sense is shown as unreadable."""
        if self.record is not None:
            try:
                return self._row(self.record, time.time() if now is None else now)
            except Exception as error:
                self.record, self.problem = (
                    None,
                    f"its values make no sense ({type(error).__name__}: {error})",
                )
        return {
            "name": self.directory.name, "state": BROKEN, "reason": self.problem, "moved": round(self.moved),
            "directory": str(self.directory), "file": str(self.directory / RECORD_NAME),
        }  # fmt: skip

    def _row(self, record: RunRecord, now: float) -> dict[str, Any]:
        data, compute, curve = record.data, record.compute, self.curve
        newest = curve.newest if record.state is State.RUNNING else {}
        steps = int(max(data.steps, newest.get("step", 0)))
        sizes = {
            "parameters": record.parameters.matrices, "all": record.parameters.all,
            "blocks": record.parameters.blocks, "non_embedding": record.parameters.non_embedding,
            "tokens": max(data.tokens, newest.get("tokens", 0)),
            "unique_tokens": data.unique_tokens, "frames": data.unique_frames,
            "flops": max(compute.flops, newest.get("flops", 0)), "joules": compute.joules,
        }  # fmt: skip
        state, every = record.state.value, curve.every_seconds() or 0.0
        if record.state is State.RUNNING and now - self.moved > max(SILENT_S, 10 * every):
            state = SILENT
        rate, unit = self._rate(record)
        row = {
            "name": str(record.name),
            "identity": str(record.identity),
            "family": str(record.family),
            "seed": record.seed,
            "state": state,
            "reason": str(record.reason) or (record.why_left_out() if record.state is State.DONE else ""),
            "sizes": {k: float(v) for k, v in sizes.items() if v is not None and 0 < float(v) < math.inf},
            "seen": max(data.tokens or data.frames, newest.get("tokens", newest.get("frames", 0))),
            "seen_of": "tokens" if data.tokens or "tokens" in newest or not data.unique_frames else "frames",
            "epochs": data.epochs,
            "steps": steps,
            "planned": record.planned_steps,
            "losses": self._losses(record),
            "best": record.best.objective if record.best and record.best.is_finite else None,
            "attempts": record.attempts,
            "skipped": record.skipped_steps,
            "rolls": [f"{r.get('from')} → {r.get('to')}: {r.get('reason')}" for r in record.roll_backs],
            "rate": rate,
            "rate_of": unit,
            "mfu": self._newest(record, "mfu_percent"),
            "padding": self._newest(record, "padding_percent"),
            "data_wait": self._newest(record, "data_wait_percent"),
            "memory": self._newest(record, "peak_memory_gib"),
            "left": self._seconds_left(record, steps),
            "spent": float(sizes["flops"] or 0) - compute.inherited_flops,
            "inherited": compute.inherited_flops,
            "device": str(compute.device),
            "device_seconds": compute.device_seconds,
            "started": str(record.started),
            "moved": round(self.moved),
            "directory": str(self.directory),
            "error": self._error(record),
            "overrides": " ".join(map(str, record.overrides)),
            "revision": str(record.git_revision or "")[:12],
            "broken_lines": curve.broken_lines,
        }
        shown = {key: value for key, value in row.items() if value not in (None, "", [], {})}
        for key in NUMBERS & set(shown):
            if not is_number(shown[key]):
                raise ValueError(f"{key} is {shown[key]!r}")
        return shown

    def _losses(self, record: RunRecord) -> dict[str, float]:
        """The newest validation: of the record, or of the curve where that is ahead."""
        series = self.curve.series.get("validation")
        final = record.final
        if record.state is State.RUNNING and series and series.rows and (
            final is None or series.rows[-1][0] > final.step
        ):  # fmt: skip
            found = {key: series.last(key) for key in series.metrics}
        else:
            found = dict(final.values) if final else {}
        return {key: float(v) for key, v in found.items() if v is not None and math.isfinite(float(v))}

    def _newest(self, record: RunRecord, key: str) -> float | None:
        value = self.curve.last("truth", key) if record.state is State.RUNNING else None
        return record.truth.get(key) if value is None else value

    def _rate(self, record: RunRecord) -> tuple[float | None, str]:
        for unit in RATES:
            if value := self._newest(record, f"{unit}_per_second"):
                return float(value), unit
        return None, ""

    def _seconds_left(self, record: RunRecord, steps: int) -> float | None:
        """Training time to the planned end at the newest rate; None where no rate is known."""
        if record.state in (State.DONE, State.FAILED, State.STOPPED, State.PAUSED):
            return None
        left = max(0, record.planned_steps - steps)
        rate = self.curve.steps_per_second() if record.state is State.RUNNING else None
        if not rate and record.compute.seconds > 0 and record.data.steps > 0:
            rate = record.data.steps / record.compute.seconds
        return left / rate if rate and record.planned_steps > 0 else None

    def _error(self, record: RunRecord) -> str | None:
        if record.state is not State.FAILED:
            return None
        tracebacks = sorted(self.directory.glob("error*.txt"))
        return str(tracebacks[0]) if tracebacks else None


def waiting_rows(entries: dict[str, Any], identities: list[str]) -> dict[str, dict[str, Any]]:
    """Rows of the points of a submission or a plan that have no record yet, by identity.

    Entries that make no sense are passed over.
    """
    rows: dict[str, dict[str, Any]] = {}
    for identity in identities:
        try:
            entry = entries[identity]
            plan, cancelled = entry["plan"], bool(entry.get("cancelled"))
            jobs = ", ".join(map(str, entry["jobs"]))
            known = {
                key: float(plan[of])
                for key, of in (("planned_flops", "flops"), ("planned_seconds", "seconds"))
                if is_number(plan[of])
            }
            size = plan["parameters"]
            rows[str(identity)] = {
                "name": str(plan["name"]), "identity": str(identity),
                "state": CANCELLED if cancelled else WAITING,
                "reason": "cancelled by a person" if cancelled else f"job {jobs}" if jobs else "planned",
                "sizes": {"parameters": float(size)} if is_number(size) else {},
                "planned": int(plan["steps"]), "steps": 0, **known,
                "directory": str(plan["directory"]),
            }  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            continue
    return rows
