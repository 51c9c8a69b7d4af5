"""Few frames are divided too: there is something to validate on."""

import numpy as np
import pytest

from chemscale.structures.preparation.splits import SplitPolicy, divide, hash64


@pytest.mark.parametrize("by", ["frame", "molecule"])
@pytest.mark.parametrize("kinds", [2, 3, 7])
def test_a_few_frames_leave_at_least_one_to_validate_on(by, kinds):
    keys = np.array([hash64(bytes([n])) for n in range(kinds)] * 3, np.uint64)
    for seed in range(30):
        parts = divide(np.arange(3 * kinds), keys, keys, SplitPolicy(by, validation=0.1, seed=seed))
        assert len(parts["train"])
        assert len(parts["validation"])
        assert not set(keys[parts["train"]]) & set(keys[parts["validation"]])


def test_nothing_is_held_out_without_a_share():
    keys = np.arange(5, dtype=np.uint64)
    assert not len(divide(np.arange(5), keys, keys, SplitPolicy(validation=0.0))["validation"])
