"""Turns are taken one after the other, and ratios are of the same round."""

import pytest

from chemscale.benchmarking.rounds import Timing, Turn, interleave, ratio


class Steady:
    """Does `rate` a second, less what the machine does beside it at that moment."""

    def __init__(self, name, rate, machine):
        self.name, self._rate, self._machine = name, rate, machine

    def turn(self, seconds, steps):
        self._machine["order"].append(self.name)
        return Turn(
            seconds, steps, self._rate * seconds * self._machine["speed"][len(self._machine["order"]) // 2]
        )


def taken(rounds, speed):
    machine = {"order": [], "speed": speed}
    two = [Steady("ours", 30.0, machine), Steady("theirs", 10.0, machine)]
    timings = {one.name: Timing({}) for one in two}
    told = []
    interleave(two, timings, rounds=rounds, seconds=2.0, steps=1, progress=told.append)
    assert told == machine["order"]
    return timings, machine["order"]


def test_every_other_round_goes_backwards():
    _, order = taken(3, [1.0] * 4)
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]


def test_a_rate_is_the_median_over_turns():
    timing = Timing({}, [Turn(1.0, 2, 10.0), Turn(2.0, 8, 10.0), Turn(1.0, 1, 400.0)])
    assert timing.rate == 10.0
    assert timing.step_seconds == 0.5


def test_a_ratio_is_taken_round_by_round():
    slow = Timing({}, [Turn(1.0, 1, 10.0), Turn(1.0, 1, 1.0), Turn(1.0, 1, 4.0)])
    fast = Timing({}, [Turn(1.0, 1, 20.0), Turn(1.0, 1, 3.0), Turn(1.0, 1, 10.0)])
    found = ratio(fast, slow)
    assert (found.median, found.least, found.most) == (2.5, 2.0, 3.0)
    assert str(found) == "2.50× (2.00 to 3.00)"


def test_turns_of_unequal_number_are_no_rounds():
    with pytest.raises(ValueError, match="shorter"):
        ratio(Timing({}, [Turn(1, 1, 1)] * 2), Timing({}, [Turn(1, 1, 1)]))
