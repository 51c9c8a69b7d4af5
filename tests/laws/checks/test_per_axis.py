"""Laws along one axis of a sweep over two."""

from chemscale.common.listening import listening
from chemscale.laws import LawPoint, LawPoints
from chemscale.laws.checks.per_axis import laws_per_axis
from tests.helpers.laws import sweep


def test_every_slice_is_heard_of_whether_it_has_a_law_or_not():
    inputs, loss = sweep(sizes=5)
    rows = [*zip(*inputs.T, loss, strict=True), (3e6, 5e12, 2.0)]
    points = LawPoints(
        tuple(
            LawPoint(f"{k}", {"parameters": n, "tokens": d}, {"loss": y}) for k, (n, d, y) in enumerate(rows)
        ),
        "a table",
    )
    heard = []
    with listening(lambda done, total, unit: heard.append((done, total, unit))):
        laws = laws_per_axis(points, "parameters", "tokens", "loss")
    assert len(laws) == 5
    assert heard[-1] == (6, 6, "slices")
