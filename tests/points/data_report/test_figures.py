"""Figures of a report: each part has its own mark, and no label leaves the figure."""

import re

import numpy as np
import pytest

from chemscale.molecules.metrics.page.histograms import CHARACTER, WIDTH, histogram_svg
from chemscale.points.data_report.figures import coverage_svg, parts_svg
from chemscale.points.data_report.values import Values, distribution


def made(**parts):
    values = {}
    for name, numbers in parts.items():
        values[name] = Values()
        values[name].add(np.asarray(numbers, float))
    return distribution("x", "of a test", values)


def test_every_part_has_its_own_mark():
    text = parts_svg(made(train=[1, 2, 3], validation=[1, 2], test=[2, 3]))
    assert re.findall(r'class="(reference|sample second|sample)"', text) == [
        "reference",
        "sample",
        "sample second",
    ]
    without = parts_svg(made(train=[1, 2, 3], test=[2, 3]))
    visible = [mark for mark in re.findall(r"<poly\w+ [^>]*>", without) if len(mark.split()) > 8]
    assert len(visible) == 2
    assert "sample second" in visible[1]


@pytest.mark.parametrize("offset", [0.0, -4209.6, -17660.3, 1e-7])
def test_labels_lie_within_the_figure_and_differ(offset):
    edges = np.linspace(offset - 0.4, offset + 0.4, 41)
    text = histogram_svg(edges, np.full(40, 1 / 40), [], whole=False)
    labels = re.findall(r'<text x="([\d.]+)" y="\d+" text-anchor="(\w+)">([^<]+)<', text)
    assert len({label for *_, label in labels}) == len(labels) >= 2
    for x, anchor, label in labels:
        width = CHARACTER * len(label)
        left = float(x) - {"start": 0, "middle": width / 2, "end": width}[anchor]
        assert left >= 0
        assert left + width <= WIDTH


def test_a_quantity_that_does_not_vary_is_one_bar():
    assert parts_svg(made(train=[9.0] * 5, validation=[9.0])).count("<poly") == 2


def test_coverage_is_drawn_for_a_single_symbol_too():
    assert coverage_svg([1], {"train": [1.0], "validation": [1.0]}).count("<polyline") == 2
    assert "NaN" not in coverage_svg([1, 5, 20], {"train": [0.2, 0.7, 1.0], "validation": [0, 0.5, 0.9]})
