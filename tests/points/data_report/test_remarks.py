"""What a report warns of: as seldom without a cause as it says."""

import numpy as np
import pytest

from chemscale.points.data_report.remarks import CHANCE, differences
from chemscale.points.data_report.values import Values, distribution


def quantities(random, sizes, shift=0.0, digits=3):
    """Thirteen of them, as a report of molecules has; `shift` sets the last one of the validation apart."""
    made = []
    for number in range(13):
        parts = {}
        for part, size in zip(("train", "validation"), sizes, strict=True):
            parts[part] = Values()
            apart = shift if (part, number) == ("validation", 12) else 0.0
            parts[part].add(np.round(random.normal(apart, 1, size), digits))
        made.append(distribution(f"q{number}", "", parts, independent=True))
    return made


@pytest.mark.parametrize(("sizes", "digits"), [((2000, 100), 3), ((1000, 1000), 3), ((1000, 300), 0)])
@pytest.mark.slow
def test_parts_of_one_distribution_are_seldom_told_apart(sizes, digits):
    random = np.random.default_rng(3)
    alarms = sum(bool(differences(quantities(random, sizes, digits=digits))) for _ in range(200))
    assert alarms <= 200 * CHANCE + 3 * np.sqrt(200 * CHANCE)


def test_the_quantity_that_differs_is_named():
    (said,) = differences(quantities(np.random.default_rng(0), (2000, 300), shift=0.4))
    assert "in q12 (" in said
