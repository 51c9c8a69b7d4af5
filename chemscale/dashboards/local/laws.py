"""Laws that fits left below the runs, as lines with their bands. Where there is no law, there is no line.

``law.json`` holds a law and the points that it was fitted to. Of a joint law it holds the covariance too; the
band of a law of one axis is found again by the same bootstrap of the same points, and left out where that
does not give the law in the file. NumPy and the laws are imported where a law is read: the page is there
before.
"""

from __future__ import annotations

import csv
import io
import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemscale.common.files import read_regular
from chemscale.dashboards.local.points import Stamp

if TYPE_CHECKING:
    import numpy as np

PLACES = 60
"""Points of a line."""
MAX_LINES = 5
"""Of a joint law along one axis."""
Line = dict[str, Any]


class LawReader:
    """Laws by file, read by a thread of their own: the page does not wait for SciPy."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Stamp, dict[str, Any]]] = {}
        self._asked: dict[Path, Stamp] = {}
        self._lock = threading.Lock()
        self.busy = 0

    def law(self, path: Path, seen: Stamp) -> dict[str, Any]:
        """What is known of a law by now; ``reading`` where that is still nothing."""
        with self._lock:
            if path in self._known and self._known[path][0] == seen:
                return self._known[path][1]
            if self._asked.get(path) != seen:
                self._asked[path] = seen
                self.busy += 1
                threading.Thread(target=self._read, args=(path, seen), daemon=True).start()
            return {"reading": True, "made": round(seen[0])}

    def _read(self, path: Path, seen: Stamp) -> None:
        law = read_law(path) | {"made": round(seen[0])}
        with self._lock:
            self._known[path] = (seen, law)
            self.busy -= 1


def read_law(path: Path) -> dict[str, Any]:
    """``kind``, ``unit``, ``forms`` in words and ``lines``; ``problem`` where it cannot be read or drawn."""
    try:
        law = json.loads(read_regular(path))
        out: dict[str, Any] = {"kind": str(law["kind"]), "unit": str(law["unit"]), "lines": []}
        out["lines"] = list({"axis": _axis, "surface": _surface, "ladder": _ladder}[out["kind"]](law, path))
        out["forms"] = [*_words(law)]
    except Exception as error:  # another version's file, half a file: the page goes on
        return {
            "problem": f"{path}: not a law that can be drawn ({type(error).__name__}: {error}).",
            "lines": [],
        }
    return out


def _words(law: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Formula and parameters with their intervals, of each rung where there are several."""
    from chemscale.laws.reports.texts import SYMBOLS, span_text

    for name, fit in law.get("rungs", {"": law}).items():
        if fit.get("parameters"):
            values = []
            for key, value in fit["parameters"].items():
                known = math.inf if value is None else value
                values.append(f"{SYMBOLS.get(key, key)} = {span_text(known, fit['intervals'][key], '.3g')}")
            yield {"of": name, "formula": str(fit["formula"]), "values": values}


# --- one axis ---


def _axis(law: dict[str, Any], path: Path) -> Iterator[Line]:
    points = [p for p in law["data"]["points"] if p["used"]]
    outside = (law.get("regime") or {}).get("outside") or []
    inside = any(fit["parameters"] == law["parameters"] for fit in law.get("inside_regime", []))
    if inside:
        points = [
            p for p in points if not any(math.isclose(p[law["axis"]], x, rel_tol=1e-9) for x in outside)
        ]
    if law.get("parameters"):
        yield _line(law, law["axis"], law["unit"], points, "law inside its regime" if inside else "law")


def _ladder(law: dict[str, Any], path: Path) -> Iterator[Line]:
    table = io.StringIO(read_regular(path.with_name("points.csv")).decode(), newline="")
    rows = [row for row in csv.DictReader(table) if row["used"] == "True"]
    for name, rung in law["rungs"].items():
        points = [{k: _float(v) for k, v in row.items()} for row in rows if row["rung"] == name]
        if rung.get("parameters"):
            yield _line(rung, law["axis"], law["unit"], points, name)


def _line(fit: dict[str, Any], axis: str, unit: str, points: list[dict[str, Any]], label: str) -> Line:
    import numpy as np

    from chemscale.laws.axis.forms import FORMS

    sizes = sorted((p[axis], p[unit]) for p in points)
    x, y = (np.array(column, dtype=float) for column in zip(*sizes, strict=True))
    form = FORMS[fit["form"]]
    theta = np.array([fit["parameters"][key] for key in form.parameters], dtype=float)
    grid = np.geomspace(x.min() / 1.3, x.max() * 1.3, PLACES)
    line = {"axis": axis, "label": label, "x": _list(grid), "y": _list(form.value(grid, theta))}
    return line | _band(form.name, theta, x, y, grid)


def _band(name: str, theta: np.ndarray, x: np.ndarray, y: np.ndarray, grid: np.ndarray) -> Line:
    """Ends of the law's interval; nothing where the points do not give the law in the file again."""
    import numpy as np

    from chemscale.laws.axis.fit import FitError, fit_form

    try:
        again = fit_form(x, y, name)
    except FitError:
        return {}
    if not np.allclose(again.theta, theta, rtol=1e-3):
        return {}
    low, high = again.band(grid)
    return {"low": _list(low), "high": _list(high)}


# --- size and data ---


def _surface(law: dict[str, Any], path: Path) -> Iterator[Line]:
    import numpy as np

    from chemscale.laws.allocation.known import KnownLaw
    from chemscale.laws.joint.drift import LossAt
    from chemscale.laws.reports.joint_analysis import SURFACES
    from chemscale.laws.reports.plotting import levels, short

    surface = SURFACES[law["form"]]
    known = KnownLaw.of_kept(surface, law["known"])
    size, data = law["axes"]["N"], law["axes"]["D"]
    points = [p for p in law["data"]["points"] if p["used"]]
    table = {axis: np.array([p[axis] for p in points], dtype=float) for axis in (size, data)}
    for axis, other, name in ((size, data, "D"), (data, size, "N")):
        found, _ = levels(table[other])
        step = max(1, math.ceil(len(found) / MAX_LINES))
        for level in found[::step]:
            here = table[axis][level.members] if level.members.any() else table[axis]
            grid = np.geomspace(here.min() / 1.3, here.max() * 1.3, PLACES)
            fixed = np.full(PLACES, level.value)
            n, d = (grid, fixed) if axis == size else (fixed, grid)
            z = np.log(np.stack([n, d, d][: len(surface.columns)], axis=1))
            target = LossAt(surface, z)
            value, (low, high) = known.spread(target)[0], known.interval(target)
            yield {
                "axis": axis, "label": f"{name} = {short(level.value)}", "x": _list(grid),
                "y": _list(np.exp(value)), "low": _list(np.exp(low)),
                "high": _list(np.exp(high)),
            }  # fmt: skip


def _list(values: np.ndarray) -> list[float | None]:
    return [float(f"{v:.5g}") if math.isfinite(v) else None for v in values.tolist()]


def _float(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
