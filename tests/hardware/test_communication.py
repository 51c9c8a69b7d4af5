"""The model of scaling: volumes follow from the strategy, and published figures are met as is claimed."""

from dataclasses import replace

import numpy as np
import pytest

from chemscale.hardware.accelerators import HardwareError, accelerator
from chemscale.hardware.communication import PUBLISHED, Cluster, Collective, collectives, step

H100 = Cluster.of(accelerator("h100"), "h100")


def moved(strategy: str, **cut) -> float:
    """Bytes on the wire of a step of a billion parameters, an all-reduce counted twice."""
    parts = collectives(strategy, 1e9, 25, **cut)
    return sum((2 if part.kind == "all-reduce" else 1) * part.size for part in parts)


def test_sharing_the_states_moves_what_ddp_moves_and_sharing_weights_half_as_much_again():
    assert moved("ddp") == moved("zero1") == moved("zero2") == 8e9
    assert moved("zero3") == moved("fsdp2") == 12e9
    assert moved("single") == 0
    assert moved("ddp", accumulate=4) == moved("zero1", accumulate=4) == 8e9
    assert moved("zero2", accumulate=4) == 4 * 4e9 + 4e9
    assert moved("fsdp2", accumulate=4) == 48e9
    with pytest.raises(ValueError, match="strategy=pipeline"):
        collectives("pipeline", 1e9, 25)


def test_a_ring_is_limited_by_its_slowest_link_and_longer_by_a_hop_for_every_gpu():
    whole = Collective("all-gather", 8e9, 1)
    inside, outside = H100.seconds(whole, 8), replace(H100, network=25e9).seconds(whole, 16)
    assert inside == pytest.approx(7 / 8 * 8e9 / (0.8 * 450e9), rel=0.01)
    assert outside == pytest.approx(15 / 16 * 8e9 / (0.9 * 8 * 25e9), rel=0.01)
    assert H100.seconds(whole, 1) == 0
    tiny = Collective("all-gather", 1.0, 1)
    assert H100.seconds(tiny, 512) == pytest.approx(512 / 64 * H100.seconds(tiny, 64), rel=0.02)
    # An all-reduce goes up and down a tree, whose depth grows with the logarithm.
    reduced = Collective("all-reduce", 1.0, 1)
    assert H100.seconds(reduced, 1024) < 2 * H100.seconds(reduced, 64)


def test_what_cannot_overlap_with_computing_is_added_in_full():
    flops = 1e14
    alone = step(H100, 1, flops, 0.4, [])
    assert alone.seconds == alone.compute == pytest.approx(1e14 / (0.4 * 989e12))
    assert alone.efficiency == 1
    hidden = step(H100, 64, flops, 0.4, [Collective("all-gather", 4e9, 1)])
    after = step(H100, 64, flops, 0.4, [Collective("all-gather", 4e9, 1, window=0.0)])
    assert hidden.overlapped == pytest.approx(after.exposed)
    assert alone.seconds < hidden.seconds < after.seconds
    too_long = step(H100, 64, 1e10, 0.4, [Collective("all-gather", 4e9, 1)])
    assert too_long.overlapped == pytest.approx(too_long.compute)
    assert too_long.exposed > 0


def test_efficiency_falls_with_gpus_that_share_one_step_and_hardly_where_each_has_its_own():
    parts = collectives("ddp", 1.2e9, 25)
    shared = [step(H100, world, 4e18 / world, 0.4, parts).efficiency for world in (8, 64, 512, 1024)]
    own = [step(H100, world, 5e14, 0.4, parts).efficiency for world in (8, 64, 512, 1024)]
    assert shared == sorted(shared, reverse=True)
    assert own[0] - own[-1] < 0.1


def test_published_tables_are_met_as_closely_as_is_claimed():
    left: dict[bool, list[float]] = {True: [], False: []}
    for table in PUBLISHED:
        known = replace(Cluster.of(accelerator(table.gpu), table.gpu), network=table.network)
        found = table.predicted(known)
        assert found[0] == pytest.approx(table.rows[0][3])
        left[table.fitted] += [f / row[3] - 1 for f, row in zip(found, table.rows, strict=True)][1:]
    assert np.sqrt(np.square(left[True]).mean()) < 0.024
    assert np.sqrt(np.square(left[False]).mean()) < 0.037
    assert np.abs(left[False]).max() < 0.075


def test_a_gpu_without_a_tabled_network_is_refused_in_words():
    with pytest.raises(HardwareError, match="no NVLink and network"):
        Cluster.of(accelerator("l4"), "l4")
