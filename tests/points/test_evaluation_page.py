"""The page of a potential's evaluation."""

import numpy as np

from chemscale.points.trained.evaluation.page import write_page
from chemscale.structures.evaluation import tables
from tests.helpers.label_errors import compared, frame


def test_the_page_shows_every_group_element_and_the_worst_frames(tmp_path):
    frames = [frame([1, 8], 0.01 * i) for i in range(90)]
    errors = compared(frames, [0.0] * 90, np.full((180, 3), 0.05))
    groups = tables.table(errors, ["cold", "<hot>"], np.arange(90) % 2)
    worst = [{"where": "cold, row 3", "quantity": "forces", "error": 50.0}]
    page = tmp_path / "page.html"
    write_page(page, "run: test part", ["30 frames"], groups, tables.elements(errors), worst, errors)
    text = page.read_text()
    for expected in ("cold", "&lt;hot&gt;", "cold, row 3", "data:image/svg+xml", "meV/atom", " to "):
        assert expected in text
    assert "<hot>" not in text
