"""Damaged files of every format are read with their rows accounted for, or refused by their name."""

import zlib

import pytest

from tests.helpers.fuzzing.running import run
from tests.helpers.fuzzing.seeds import seeds

CASES = 5
"""Of each file here; ``benchmarks/fuzz_readers.py`` runs any number."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    pytest.importorskip("ase_db_backends")
    return seeds(tmp_path_factory.mktemp("seeds"))


@pytest.mark.parametrize("reader", ["molecules", "structures", "labels", "laws", "curves"])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(reader, files, tmp_path):
    faults, cases = [], 0
    for seed in files:
        if seed.reader == reader:
            tally = run(seed, range(CASES), "quick", tmp_path / "case")
            faults += [(seed.name, case, how, what) for _, case, how, what in tally.faults]
            cases += tally.cases
    assert not faults
    assert cases >= CASES


def test_cases_are_the_same_for_the_same_salt(files):
    from tests.helpers.fuzzing.running import damaged

    first = [zlib.crc32(damaged(seed, 5, "a")[0]) for seed in files]
    again = [zlib.crc32(damaged(seed, 5, "a")[0]) for seed in files]
    other = [zlib.crc32(damaged(seed, 5, "b")[0]) for seed in files]
    assert first == again
    assert first != other
