"""A law of one axis is fitted to runs that differ in nothing else, or along a path that is said."""

import pytest

from chemscale.laws.data.points import LawPoint, LawPoints
from chemscale.laws.data.pooling import merge_checkpoints, path_note, refuse_checkpoints, refuse_pooling


def table(*sizes: dict[str, float], groups: tuple[str, ...] = ()) -> LawPoints:
    return LawPoints(
        tuple(
            LawPoint(f"r{n}", each, {"loss": 4 / (n + 1)}, row=n + 2, group=groups[n] if groups else "")
            for n, each in enumerate(sizes)
        ),
        "made",
    )


NS = (1e6, 2e6, 4e6, 8e6, 1.6e7)


def test_runs_of_two_horizons_are_not_pooled_and_each_has_its_rows_named():
    why = refuse_pooling(
        table(*({"parameters": n, "tokens": d} for n in NS for d in (2e8, 4e9))), "parameters", "loss"
    )
    assert "D takes 2 values (2e+08: rows 2, 4, 6, 8 and 1 more; 4e+09: rows 3, 5, 7, 9 and 1 more)" in why
    assert "Fit the runs of each D by themselves" in why
    assert "a joint law needs 3 values of N and of D" in why


def test_a_grid_is_sent_to_the_joint_law():
    grid = table(*({"parameters": n, "tokens": d} for n in NS for d in (2e8, 4e8, 8e8)))
    for axis in ("parameters", "tokens"):
        assert "leave --axis out" in refuse_pooling(grid, axis, "loss")
    assert "differ in U" in refuse_pooling(
        table(*({"tokens": d, "unique_tokens": u} for d in NS for u in (1e5, 2e5))), "tokens", "loss"
    )


def test_compute_that_varies_at_one_size_stands_for_data_that_do():
    points = table(*({"parameters": n, "flops": c} for n in NS for c in (1e15, 2e15)))
    assert "--flops-model 6nd" in refuse_pooling(points, "parameters", "loss")
    assert not refuse_pooling(table(*({"parameters": n, "flops": 6e8 * n} for n in NS)), "parameters", "loss")


def test_two_horizons_spread_over_the_sizes_are_no_path():
    spread = table(
        *({"parameters": n, "tokens": d} for n, d in zip(NS, (2e8, 2e8, 2e8, 4e9, 4e9), strict=True))
    )
    assert "without going along with it" in refuse_pooling(spread, "parameters", "loss")


@pytest.mark.parametrize("axis", ["parameters", "tokens", "flops"])
def test_a_frontier_is_a_path_along_each_of_its_axes(axis):
    path = table(*({"parameters": n, "tokens": 20 * n, "flops": 120 * n * n} for n in NS))
    assert not refuse_pooling(path, axis, "loss")
    assert ("law is that of this path" in path_note(path, axis, "loss")) == (axis != "flops")


def test_along_compute_one_run_a_budget_is_asked_for():
    best = [1e6, 3e6, 2e6, 8e6, 4e6]
    frontier = table(*({"parameters": n, "flops": c} for n, c in zip(best, NS, strict=True)))
    assert not refuse_pooling(frontier, "flops", "loss")
    parabolas = table(*({"parameters": n, "flops": c} for n in NS for c in (1e15, 2e15)))
    assert "the best of each budget is a frontier" in refuse_pooling(parabolas, "flops", "loss")


def test_counted_tokens_of_one_horizon_may_differ_a_little_and_corpora_may_end():
    near = table(*({"parameters": n, "tokens": 1e8 * (1 + k / 100)} for k, n in enumerate(NS)))
    assert not refuse_pooling(near, "parameters", "loss")
    assert not path_note(near, "parameters", "loss")
    ends = table(*({"tokens": d, "unique_tokens": min(d, 3e6)} for d in NS))
    assert not refuse_pooling(ends, "tokens", "loss")


def test_checkpoints_of_a_run_at_one_size_are_one_point_and_at_several_are_refused():
    sizes = [{"parameters": n} for n in NS for _ in range(2)]
    names = tuple(f"run{n:g}" for n in NS for _ in range(2))
    merged = merge_checkpoints(table(*sizes, groups=names), "parameters", "loss")
    assert [p.losses["loss"] for p in merged.fitted("loss")][:1] == [pytest.approx((4 * 2) ** 0.5)]
    assert merged.left_out.startswith(
        "left out: 5 of 10: 5 averaged with a checkpoint of its run (rows 3, 5,"
    )
    assert not refuse_checkpoints(merged, "parameters", "loss")
    along = table(*({"tokens": d} for d in NS), groups=("a", "a", "a", "b", "b"))
    assert "Checkpoints of 2 runs lie at several sizes of D (a: rows 2 to 4)" in refuse_checkpoints(
        along, "tokens", "loss"
    )
