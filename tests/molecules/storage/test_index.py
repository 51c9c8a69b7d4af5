"""A corpus is opened by a small index that nobody has to believe."""

import copy
import logging
import os
import pickle
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from chemscale.molecules.corpus import Corpus, same_molecules
from chemscale.molecules.data_module import BatchShape, MoleculeDataModule
from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.preparation.conditions.request import request_conditions
from chemscale.molecules.storage import index_file
from chemscale.molecules.storage.columns import MANY, Column
from chemscale.molecules.storage.index import STRIDE, SplitIndex, Totals
from tests.helpers import large_corpora
from tests.helpers.large_corpora import repeated


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CHEMSCALE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def sharded(corpus, tmp_path, monkeypatch):
    """5000 molecules in eight shards, none a multiple of a group."""
    monkeypatch.setattr(large_corpora, "TILE", 999)
    return repeated(corpus, tmp_path / "sharded", {"train": 5000, "validation": 200}, shard=641)


@pytest.fixture
def kept(monkeypatch):
    """An index of however few molecules is kept in a file."""
    monkeypatch.setattr(index_file, "MIN_ROWS", 1)


def plain(path, part):
    """Numbers of all training shards one after another."""
    files = sorted(path.glob(f"train-{part}-*.bin"))
    return np.concatenate([np.fromfile(file, "<u2") for file in files])


def check(split, path):
    """A split is what its files hold."""
    tokens, lengths = plain(path, "tokens"), plain(path, "lengths").astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    chosen = np.random.default_rng(0).permutation(len(lengths))[:900]
    found, sizes = split.gather(chosen)
    assert sizes.tolist() == lengths[chosen].tolist()
    assert found.tolist() == [t for i in chosen for t in tokens[starts[i] : starts[i] + lengths[i]]]
    assert split.tokens(int(chosen[0])).tolist() == found[: sizes[0]].tolist()
    assert (split.targets, split.positions.sum()) == ((lengths + 1).sum(), (lengths + 1).sum())
    assert split.positions.total("squares") == ((lengths + 1) ** 2).sum()
    assert split.positions.max() == lengths.max() + 1


def test_molecules_of_many_shards_are_found_without_a_number_for_each(sharded):
    check(Corpus.open(sharded).train, sharded)


def test_columns_answer_as_arrays_do(sharded):
    split, lengths = Corpus.open(sharded).train.prefix(4321), plain(sharded, "lengths")[:4321]
    rows = np.random.default_rng(1).integers(0, 4321, 5000)  # so many that they are gathered in C++
    for where in (rows, rows[:7], -rows[:7] - 1, slice(600, 1300), slice(None, None, 777), 640, -1):
        assert np.array_equal(split.lengths[where], lengths[where])
    assert (split.lengths.sum(), split.lengths.max(), len(split.lengths)) == (
        lengths.sum(),
        lengths.max(),
        4321,
    )
    assert split.lengths.mean() == pytest.approx(lengths.mean())
    assert (split.lengths + 1 == split.positions).all()
    for outside in (4321, -4322, np.array([0, 4321]), np.array([-4322])):
        with pytest.raises(IndexError, match="of 4321"):
            split.lengths[outside]


def test_sums_over_nested_subsets_are_looked_up(monkeypatch):
    rng = np.random.default_rng(0)
    lengths, before = (rng.integers(1, 200, 3 * STRIDE + 77).astype("<u2") for _ in range(2))
    totals = Totals(Column(np.split(lengths, 3 * [STRIDE // 2])), Column([before]))
    monkeypatch.setattr(totals, "lengths", Column([lengths]))
    for molecules in (1, STRIDE - 1, STRIDE, STRIDE + 1, 2 * STRIDE + 5, len(lengths)):
        positions = (lengths.astype(np.int64) + before + 1)[:molecules]
        assert totals.first(molecules) == {
            "targets": lengths[:molecules].sum(dtype=np.int64) + molecules,
            "positions": positions.sum(),
            "squares": (positions**2).sum(),
            "longest": positions.max(),
        }


def test_a_corpus_without_an_index_gets_one_and_stays_the_same_corpus(sharded, kept, monkeypatch):
    before = Corpus.open(sharded)
    check(before.train, sharded)
    assert (sharded / "index" / "train.index").is_file()
    assert len(before.validation) == 200
    monkeypatch.setattr(SplitIndex, "of", only_read(SplitIndex.of))
    again = Corpus.open(sharded)
    check(again.train, sharded)
    again.verify()
    assert again.hash == before.hash
    assert same_molecules(before, again)


def only_read(make):
    def of(columns, tables=None):
        assert tables is not None, "counted although it is kept"
        return make(columns, tables)

    return of


def test_the_index_of_a_corpus_that_cannot_be_written_lies_in_the_cache(sharded, kept, tmp_path, monkeypatch):
    (sharded / "index").write_text("no folder: nothing can be written below, not even by root")
    check(Corpus.open(sharded).train, sharded)
    assert len(list((tmp_path / "cache").rglob("train.index"))) == 1
    monkeypatch.setattr(SplitIndex, "of", only_read(SplitIndex.of))
    check(Corpus.open(sharded).train, sharded)


def test_where_no_index_can_be_kept_it_is_counted_and_said(sharded, kept, tmp_path, monkeypatch, caplog):
    (sharded / "index").write_text("")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHEMSCALE_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        check(Corpus.open(sharded).train, sharded)
    assert "CHEMSCALE_CACHE=FOLDER" in caplog.text


@pytest.mark.parametrize("harm", ["header", "starts", "totals", "digest", "short", "empty", "other"])
def test_a_damaged_or_stale_index_is_made_again(sharded, kept, harm, tmp_path):
    check(Corpus.open(sharded).train, sharded)
    file = sharded / "index" / "train.index"
    sound = file.read_bytes()
    at = {"header": 20, "starts": 4096 + 50, "totals": len(sound) - 40, "digest": len(sound) - 3}
    if harm in at:
        flipped = bytearray(sound)
        flipped[at[harm]] ^= 1
        file.unlink()
        file.write_bytes(flipped)
    elif harm == "other":  # sound, and of another split
        assert Corpus.open(sharded).validation.targets
        shutil.copy(sharded / "index" / "validation.index", file)
    else:
        file.unlink()
        file.write_bytes(sound[: len(sound) // 2] if harm == "short" else b"")
    check(Corpus.open(sharded).train, sharded)
    assert file.read_bytes() == sound


def test_prefixes_are_found_by_the_same_index(smiles_file, tmp_path, kept, monkeypatch):
    monkeypatch.setattr(large_corpora, "TILE", 300)
    asked = request_conditions(("logP",), 4, None)
    small = build_corpus([smiles_file], tmp_path / "small", conditions=asked, workers=1)
    path = repeated(small, tmp_path / "large", {"train": 1000, "validation": 10}, shard=130)
    split = Corpus.open(path).train
    chosen = np.array([999, 0, 500, 129, 130])
    sizes, ids = plain(path, "prefix-lengths").astype(np.int64), plain(path, "prefixes")
    starts = np.cumsum(sizes) - sizes
    found, lengths = split.prefixes.gather(chosen)
    assert lengths.tolist() == sizes[chosen].tolist()
    assert found.tolist() == [t for i in chosen for t in ids[starts[i] : starts[i] + sizes[i]]]
    positions = plain(path, "lengths").astype(np.int64) + 1 + sizes
    assert np.array_equal(split.positions, positions)
    assert split.positions.total("squares") == (positions**2).sum()
    assert split.targets == positions.sum() - sizes.sum()


def test_another_process_is_sent_the_place_of_a_split_and_not_its_numbers(sharded):
    split = Corpus.open(sharded).train.prefix(4000)
    sent = pickle.dumps(split)
    assert len(sent) < 1000
    received = pickle.loads(sent)
    assert len(received) == 4000
    assert (
        received.gather(np.arange(3990, 4000))[0].tolist() == split.gather(np.arange(3990, 4000))[0].tolist()
    )


def test_another_process_is_sent_the_files_of_positions_and_not_their_numbers(sharded):
    positions = Corpus.open(sharded).train.prefix(4000).positions
    sent = pickle.dumps(positions)
    assert len(sent) < 8 * 500 < positions.sum()
    received = pickle.loads(sent)
    assert np.array_equal(received, positions)
    assert (received.sum(), received.max()) == (positions.sum(), positions.max())


def test_an_array_made_of_a_column_can_be_written_to_and_harms_no_other():
    numbers = np.arange(5, dtype=np.uint16)
    made = np.array(Column([numbers]))
    made[0] = 9
    assert numbers[0] == 0
    assert np.shares_memory(np.asarray(Column([numbers])), numbers)


def test_a_copy_of_a_column_reads_its_own_memory():
    numbers = np.arange(3 * MANY, dtype=np.uint16)
    column = Column(np.array_split(numbers, 7), 2 * MANY)
    rows = np.random.default_rng(0).integers(0, 2 * MANY, 2 * MANY)  # so many that they are gathered in C++
    copies = copy.deepcopy(column), pickle.loads(pickle.dumps(column))
    numbers += 1  # the memory of the first one is used for something else
    for copied in copies:
        assert len(copied) == 2 * MANY
        assert np.array_equal(copied[rows], rows)
    assert np.array_equal(column[rows], rows + 1)


def test_hundreds_of_shards_hold_no_file_open(corpus, tmp_path):
    path = repeated(corpus, tmp_path / "many", {"train": 3000, "validation": 10}, shard=10)
    before = len(os.listdir("/proc/self/fd"))
    opened = Corpus.open(path)
    assert opened.train.tokens(2999).size
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_memory_of_a_rank_does_not_grow_with_the_corpus(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(large_corpora, "TILE", 1 << 15)
    peaks = []
    for molecules in (1 << 20, 8 << 20):
        counts = {"train": molecules, "validation": 10}
        path = repeated(corpus, tmp_path / str(molecules), counts, sparse=True)
        use(path)  # makes the index
        tracemalloc.start()
        use(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + (1 << 20)  # eight times as many; lengths alone are 14 MB more
    assert peaks[1] < 32 << 20  # a window of the order


def use(path):
    data = MoleculeDataModule(Corpus.open(path), BatchShape(4096, 512), seed=0)
    assert data.training_batches()[0].tokens.numel() > 3000


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="/proc says what is mapped")
def test_a_reader_of_the_whole_corpus_holds_none_of_it(sharded):
    def held():
        rows = Path("/proc/self/smaps").read_text().split("\n")
        inside = [i for i, row in enumerate(rows) if str(sharded) in row]
        return {next(row for row in rows[i:] if row.startswith("Rss")).split()[1] for i in inside}

    train = Corpus.open(sharded).train
    whole = train.gather(np.arange(len(train)))[0]
    assert held() > {"0"}
    train.let_go()
    assert held() == {"0"}
    assert np.array_equal(train.gather(np.arange(len(train)))[0], whole)
