"""The state behind the page: all runs below a folder, read again where they changed, parts with versions."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chemscale.dashboards.local.laws import LawReader
from chemscale.dashboards.local.points import STATES, Point, stamp, waiting_rows
from chemscale.dashboards.local.scan import SUBMISSION, Found, read_plan, read_submission, scan, sweep_of
from chemscale.dashboards.local.sweeps import summary
from chemscale.records import PLANNED_NAME

FRESH_S = 1.0
"""A state this young is given as it is: many pages cost no more than one."""
READING_S = 0.7
"""Longest time that one answer reads curves; the next goes on."""
WAIT_S = 2.0
"""Longest time that an answer waits for another thread that looks at a slow file system."""
ALL_ROWS = 60_000
"""Rows of all curves of an answer together."""
MIN_ROWS, MAX_ROWS = 24, 400


class Versions:
    """Parts by key with the version at which each last changed, so that a page asks only for what is new."""

    def __init__(self, clock: Callable[[], int]):
        self.parts: dict[str, Any] = {}
        self.changed: dict[str, int] = {}
        self._clock = clock

    def take(self, parts: dict[str, Any]) -> None:
        """All parts as they are now; one that is gone is None from here on."""
        gone = {key: None for key in self.parts if key not in parts}
        for key, part in (parts | gone).items():
            if key not in self.parts or self.parts[key] != part:
                self.parts[key], self.changed[key] = part, self._clock()

    def since(self, version: int) -> dict[str, Any]:
        """Parts that changed after a version; who asks for the first time does not see what is gone.

        Args:
            version: that the page has; 0 at first.
        """
        return {
            key: part
            for key, part in self.parts.items()
            if self.changed[key] > version and (version or part is not None)
        }


class Board:
    """State of the runs below a folder. Every method may be called by several threads at once.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        self.boot = secrets.token_hex(6)
        self.version = 0
        self.points: dict[str, Point] = {}
        self.rows, self.sweeps, self.laws = (Versions(self._next) for _ in range(3))
        self.problems: list[str] = []
        self.reports: dict[str, Path] = {}
        """Reports below the folder by their path in it: what the server may hand out."""
        self._curves: dict[str, int] = {}
        self._law_reader = LawReader()
        self._submissions: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._lock, self._publishing = threading.Lock(), threading.Lock()
        self._looked, self.scan_seconds = float("-inf"), 0.0

    def _next(self) -> int:
        self.version += 1
        return self.version

    # --- looking ---

    def refresh(self, wait: float = -1) -> None:
        """Look at the folder again unless the last look is fresh.

        Args:
            wait: longest seconds to wait while another thread looks; -1 is without end.
        """
        if not self._lock.acquire(timeout=wait):
            return
        try:
            began = time.monotonic()
            # A slow file system is asked less often.
            if began - self._looked < max(FRESH_S, 5 * self.scan_seconds):
                return
            self._look(scan(self.root))
            self._looked = time.monotonic()
            self.scan_seconds = self._looked - began
        finally:
            self._lock.release()

    def _look(self, found: Found) -> None:
        now = time.time()
        for key in set(self.points) - set(found.points):
            del self.points[key]
        rows: dict[str, dict[str, Any]] = {}
        for key, seen in found.points.items():
            point = self.points.get(key)
            if point is None:
                point = self.points[key] = Point(self.root if key == "." else self.root / key)
            if point.look(seen) and point.curve_loaded:
                self._curves[key] = self._next()
            rows[key] = {"sweep": sweep_of(key), **point.row(now)}
        for sweep in sorted(found.plans.keys() | found.submissions.keys()):
            plan, jobs = found.plans.get(sweep), found.submissions.get(sweep)
            launched = plan is None or (jobs is not None and jobs[0] >= plan[0])  # the newer command counts
            waiting = self._waiting(sweep, jobs if launched else plan, launched=launched)
            rows |= {key: row for key, row in waiting.items() if key not in rows}
        _mark_copies(rows)
        by_sweep: dict[str, list[dict[str, Any]]] = {}
        for row in rows.values():
            by_sweep.setdefault(row["sweep"], []).append(row)
        laws, reports = self._find_laws(found, set(by_sweep))
        whole = self.root.resolve().name
        sweeps = {
            sweep: {
                "name": whole if sweep == "." else sweep,
                **summary(members, sweep in found.submissions or sweep in found.plans),
            }
            for sweep, members in by_sweep.items()
        }
        with self._publishing:
            self.rows.take(rows)
            self.sweeps.take(sweeps)
            self.laws.take(laws)
            self.reports = reports
            if found.problems != self.problems:
                self.problems, _ = found.problems, self._next()

    def _waiting(self, sweep: str, seen: Any, *, launched: bool) -> dict[str, dict[str, Any]]:
        known = self._submissions.get(sweep)
        if known is None or known[0] != seen:
            read, name = (read_submission, SUBMISSION) if launched else (read_plan, PLANNED_NAME)
            entries, identities = read(self.root / sweep / name)
            rows = waiting_rows(entries, identities)
            prefix = "" if sweep == "." else f"{sweep}/"
            known = (seen, {f"{prefix}{i}": {"sweep": sweep, **row} for i, row in rows.items()})
            self._submissions[sweep] = known
        return known[1]

    def _find_laws(
        self, found: Found, sweeps: set[str]
    ) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Path]]:
        by_sweep: dict[str, list[dict[str, Any]]] = {}
        reports: dict[str, Path] = {}
        for path, seen in found.laws.items():
            sweep = sweep_of(sweep_of(path))
            if sweep not in sweeps:
                continue
            file = self.root / path
            law = {"folder": sweep_of(path), **self._law_reader.law(file, seen)}
            report = file.with_name("report.html")
            # Elsewhere is not the page's to show: whoever may write here could link to any file of its owner.
            if stamp(report) is not None and report.resolve().parent == file.parent.resolve():
                law["report"] = f"{sweep_of(path)}/report.html"
                reports[law["report"]] = report
            by_sweep.setdefault(sweep, []).append(law)
        return by_sweep, reports

    # --- answers ---

    def state(self, since: int = 0) -> dict[str, Any]:
        """Rows, sweeps and laws that changed after a version; None for one that is gone.

        Args:
            since: the version.
        """
        with self._publishing:
            return {
                "boot": self.boot,
                "version": self.version,
                "since": since,
                "time": time.time(),
                "root": str(self.root),
                "states": STATES,
                "problems": self.problems,
                "rows": self.rows.since(since),
                "sweeps": self.sweeps.since(since),
                "laws": self.laws.since(since),
            }

    def wait_for_laws(self, seconds: float = 60.0) -> None:
        """Wait for laws that are being read, for a page that is written once.

        Args:
            seconds: the longest that it waits.
        """
        end = time.monotonic() + seconds
        while self._law_reader.busy and time.monotonic() < end:
            time.sleep(0.05)
        self._looked = float("-inf")
        self.refresh()

    def curves(
        self, sweep: str, metrics: Sequence[str], since: int = 0, seconds: float = READING_S
    ) -> dict[str, Any]:
        """Curves of a sweep that changed after a version: point → metric → columns.

        Args:
            metrics: as ``validation/nats_per_token``; a run without one of them lacks it.
            sweep: its folder below the root.
            since: version that the page has.
            seconds: how long files are read; ``more`` counts those still to be read.
        """
        if not self._lock.acquire(timeout=WAIT_S):
            return {"boot": self.boot, "version": since, "more": 1, "metrics": {}, "curves": {}}
        try:
            mine = [key for key in self.points if sweep_of(key) == sweep]
            more = self._load_curves(mine, seconds)
            limit = max(MIN_ROWS, min(MAX_ROWS, ALL_ROWS // max(1, len(mine) * len(metrics))))
            new = [key for key in mine if self._curves.get(key, 0) > since]
            return {
                "boot": self.boot,
                "version": self.version,
                "more": more,
                "metrics": self._metrics(mine),
                "curves": {key: self._tables(self.points[key], metrics, limit) for key in new},
            }
        finally:
            self._lock.release()

    def _load_curves(self, keys: Sequence[str], seconds: float) -> int:
        """Read curves that nobody has asked for before; how many are still to be read."""
        end, more = time.monotonic() + seconds, 0
        for key in keys:
            point = self.points[key]
            if point.curve_loaded and key in self._curves and not point.curve.unread:
                continue
            if time.monotonic() > end:
                more += 1
                continue
            point.load_curve()
            while point.curve.unread and time.monotonic() <= end:
                point.load_curve()
            more += point.curve.unread
            self._curves[key] = self._next()
        return more

    def _metrics(self, keys: Sequence[str]) -> dict[str, list[str]]:
        """Kind → metrics that some run of these has."""
        out: dict[str, dict[str, None]] = {}
        for key in keys:
            for kind, series in self.points[key].curve.series.items():
                out.setdefault(kind, {}).update(dict.fromkeys(series.metrics))
        return {kind: list(names) for kind, names in out.items()}

    @staticmethod
    def _tables(point: Point, metrics: Sequence[str], limit: int) -> dict[str, Any]:
        out = {}
        for metric in metrics:
            kind, _, name = metric.partition("/")
            series = point.curve.series.get(kind)
            if series is not None and name in series.metrics:
                out[metric] = series.table(name, limit)
        return out


def _mark_copies(rows: dict[str, dict[str, Any]]) -> None:
    """Say of points that lie in several folders that a law over all of them counts them once."""
    first: dict[str, str] = {}
    for key in sorted(rows):
        identity = rows[key].get("identity")
        if identity is not None and first.setdefault(identity, key) != key and not rows[key].get("reason"):
            rows[key]["reason"] = f"the same as another run ({first[identity]})"
