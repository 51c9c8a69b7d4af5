"""The order of the data and its blocks."""

import hashlib

import numpy as np
import pytest
import torch

from chemscale.models.kernels.compiled import use_kernels
from chemscale.molecules import packing, packing_kernel
from chemscale.molecules.batches import (
    IGNORED,
    TrainingBatches,
    ValidationBatches,
    batch_ends,
    packed_batch,
    sorted_by_size,
)
from chemscale.molecules.data_module import BatchShape, MoleculeDataModule, SubsetError
from chemscale.molecules.order import Permutation
from chemscale.molecules.packing import BlockPlan, PackingError, pack, packed_blocks
from chemscale.molecules.storage import window_counts
from chemscale.molecules.storage.columns import Column
from chemscale.molecules.storage.index import Positions, Totals
from chemscale.molecules.storage.window_counts import WindowCounts


@pytest.mark.parametrize("n", [1, 2, 5, 1000, 65537])
def test_a_permutation_visits_everything_once(n):
    assert sorted(Permutation(n, 7)(np.arange(n)).tolist()) == list(range(n))


def test_other_seeds_and_epochs_give_other_orders():
    orders = {tuple(Permutation(50, seed, epoch)(np.arange(50))) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4


def test_every_molecule_stands_whole_in_one_block_and_little_is_padding():
    sizes = np.random.default_rng(0).integers(10, 90, 5000)
    blocks = pack(sizes, 512)
    assert sorted(i for block in blocks for i in block) == list(range(5000))
    assert max(sizes[block].sum() for block in blocks) <= 512
    assert 1 - sizes.sum() / (512 * len(blocks)) < 0.02


def test_a_molecule_longer_than_a_block_is_refused():
    with pytest.raises(PackingError, match=r"data\.block"):
        pack(np.array([10, 600]), 512)


def test_a_molecule_longer_than_a_block_is_refused_before_its_window_is_reached():
    sizes = np.full(10_000, 20)
    sizes[5000] = 513
    with pytest.raises(PackingError, match=r"513 positions, a block has 512"):
        BlockPlan(sizes, block=512, seed=0, window=64)


@pytest.fixture(params=[True, False], ids=["C++", "Python"])
def kernels(request):
    """Both ways to fill blocks."""
    if request.param and packing_kernel.library() is None:
        pytest.skip("needs a C++ compiler (g++)")
    use_kernels(request.param)
    yield request.param
    use_kernels(True)


@pytest.mark.parametrize(
    ("molecules", "block", "window", "blocks", "digest"),
    [
        (100_000, 512, 1 << 18, 11912, "f54b023b9e04af22dc1c09af1cf54718c88bdc4aeb465055364b0e361a68b940"),
        (60_000, 128, 1 << 14, 28990, "544e7724a3eb6313018f2c1de64b7f2eaa8a14c1219d6d69bfa2583b7b746f3d"),
    ],
)
def test_blocks_are_those_of_the_first_version_to_the_last_molecule(
    kernels, molecules, block, window, blocks, digest
):
    sizes = np.random.Generator(np.random.PCG64(1)).integers(2, 121, molecules)
    plan = BlockPlan(sizes, block=block, seed=7, window=window)
    assert plan.blocks_of_epoch() == blocks
    found = hashlib.sha256()
    for number in range(blocks + 40):  # into the second epoch
        found.update(plan.molecules(number).astype("<i8").tobytes() + b"|")
    assert found.hexdigest() == digest


@pytest.mark.parametrize("block", [63, 64, 65, 127, 512, 1000])
def test_filling_in_cpp_is_filling_in_python(kernels, block):
    rng = np.random.default_rng(block)
    for molecules in (1, 2, 300, 3000):
        sizes = rng.integers(1, block + 1, molecules)
        found = packed_blocks(np.arange(molecules), sizes, block)
        assert [found[b].tolist() for b in range(len(found))] == pack(sizes, block)
    with pytest.raises(PackingError, match=r"data\.block"):
        packed_blocks(np.arange(1), np.array([block + 1]), block)


def counted(folder, sizes, **others):
    counts = WindowCounts([folder / "no folder" / "below", folder / "index"], {"order": len(sizes)}, 64)
    return BlockPlan(sizes, block=128, seed=0, window=64, counts=counts, **others)


def test_a_late_step_is_found_without_walking_the_windows_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr(window_counts, "MIN_MOLECULES", 1)
    (tmp_path / "no folder").write_text("")  # the better place cannot be written
    sizes = np.random.default_rng(0).integers(10, 90, 5000)
    first = counted(tmp_path, sizes)
    last = first.blocks_of_epoch() - 1
    expected = first.molecules(last).tolist()
    packed = []
    plain = BlockPlan._packed
    monkeypatch.setattr(BlockPlan, "_packed", lambda self, w: packed.append(w) or plain(self, w))
    again = counted(tmp_path, sizes)
    assert again.molecules(last).tolist() == expected
    assert packed == [again.windows_per_epoch - 1]
    (file,) = (tmp_path / "index").glob("*.index")
    content = file.read_bytes()
    for harmed in (content[:-1], content[:4200] + bytes([content[4200] ^ 1]) + content[4201:], b""):
        file.unlink(missing_ok=True)
        file.write_bytes(harmed)
        assert counted(tmp_path, sizes).molecules(last).tolist() == expected
    beyond = counted(tmp_path, sizes).molecules(3 * last)  # in the third epoch: counted, the last one packed
    assert beyond.tolist() == BlockPlan(sizes, block=128, seed=0, window=64).molecules(3 * last).tolist()


def test_windows_that_training_reads_are_kept_by_the_first_rank_only(tmp_path, monkeypatch):
    monkeypatch.setattr(window_counts, "MIN_MOLECULES", 1)
    monkeypatch.setattr(packing, "SAVED_SECONDS", 0.0)
    sizes = np.random.default_rng(0).integers(10, 90, 1000)
    for writes in (False, True):
        plan = counted(tmp_path, sizes)
        plan.counts.writes = writes
        for block in range(200):
            plan.molecules(block)
        assert len(counted(tmp_path, sizes)._starts) == (len(plan._starts) if writes else 1)


def test_an_epoch_of_very_many_windows_is_estimated_from_some(monkeypatch):
    sizes = np.random.default_rng(0).integers(10, 90, 200_000)
    plan, other = (BlockPlan(sizes, block=512, seed=0, window=4096) for _ in range(2))
    exact = other.blocks_of_epoch()
    monkeypatch.setattr(packing, "EXACT_WINDOWS", 20)
    assert plan.about_blocks_of_epoch() == pytest.approx(exact, rel=2e-3)
    assert plan._starts == [0]
    plan.blocks_of_epoch()
    assert plan.about_blocks_of_epoch() == exact


@pytest.mark.parametrize(
    ("molecules", "tokens", "longest"), [(1, 5, 3), (1000, 20, 90), (200_000, 8192, 300)]
)
def test_validation_batches_are_those_of_a_sorted_split(molecules, tokens, longest):
    lengths = np.random.default_rng(0).integers(1, longest, molecules).astype("<u2")
    sizes = lengths.astype(np.int64) + 1
    expected = np.argsort(sizes, kind="stable")
    which = (np.cumsum(sizes[expected]) - 1) // tokens
    parts = np.split(expected, np.flatnonzero(np.diff(which)) + 1)
    halves = Column([lengths[: molecules // 3], lengths[molecules // 3 :]])
    order, counts = sorted_by_size(Positions(Totals(halves), molecules))
    assert np.array_equal(order, expected)
    assert batch_ends(counts, tokens).tolist() == np.cumsum([len(part) for part in parts]).tolist()


def test_each_epoch_shows_every_molecule_once_in_another_order():
    plan = BlockPlan(np.full(100, 30), block=128, seed=3, window=40)
    first = plan.blocks_of_epoch()
    epochs = [np.concatenate([plan.molecules(b) for b in range(e * first, (e + 1) * first)]) for e in (0, 1)]
    assert all(sorted(e.tolist()) == list(range(100)) for e in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()


def test_blocks_do_not_depend_on_the_order_of_asking():
    sizes = np.random.default_rng(0).integers(10, 90, 300)
    forwards, jumping = (BlockPlan(sizes, block=128, seed=0, window=64) for _ in range(2))
    expected = [forwards.molecules(b).tolist() for b in range(100)]
    assert jumping.molecules(90).tolist() == expected[90]
    assert jumping.molecules(3).tolist() == expected[3]


def test_ranks_and_micro_batches_share_a_step_without_overlap(corpus):
    plan = BlockPlan(corpus.train.lengths.astype(np.int64) + 1, block=128, seed=0)
    whole = TrainingBatches(corpus.train, plan, blocks=4, accumulate=1, bos_id=1, eos_id=2)[1]
    parts = [
        TrainingBatches(corpus.train, plan, blocks=1, accumulate=2, bos_id=1, eos_id=2, rank=r, world=2)[
            2 + a
        ]
        for a in (0, 1)
        for r in (0, 1)
    ]
    assert [t for p in parts for t in p.tokens.tolist()] == whole.tokens.tolist()
    assert all(p.step_tokens == whole.tokens.numel() for p in parts)


def test_inputs_begin_and_targets_end_each_molecule(corpus):
    batch = ValidationBatches(corpus.validation, tokens=500, bos_id=1, eos_id=2)[0]
    starts = (batch.positions == 0).nonzero().flatten()
    assert (batch.tokens[starts] == 1).all()
    assert batch.molecules == len(starts)
    ends = [*(starts[1:] - 1).tolist(), len(batch.tokens) - 1]
    assert (batch.targets[ends] == 2).all()
    inner = batch.positions > 0
    assert (batch.targets[:-1][inner[1:]] == batch.tokens[1:][inner[1:]]).all()


def test_filler_makes_batches_of_one_length_and_is_counted_nowhere(corpus):
    plan = BlockPlan(corpus.train.lengths.astype(np.int64) + 1, block=128, seed=0)
    plain, filled = (
        TrainingBatches(corpus.train, plan, blocks=2, accumulate=2, bos_id=1, eos_id=2, filled=filled)
        for filled in (False, True)
    )
    fillers = []
    for expected, found in ((plain[i], filled[i]) for i in range(plan.blocks_of_epoch() // 2)):
        size = expected.tokens.numel()
        assert found.tokens.numel() == 256
        assert (found.size, found.counts, found.pairs) == (size, expected.counts, expected.pairs)
        assert (found.step_tokens, found.molecules) == (expected.step_tokens, expected.molecules)
        for key in ("tokens", "targets", "positions"):
            assert torch.equal(getattr(found, key)[:size], getattr(expected, key))
        assert (found.targets[size:] == IGNORED).all()
        assert found.positions.max() == expected.positions.max()
        fillers.append(found.filler)
    assert min(fillers) == 0 < max(fillers)


def test_filler_of_a_batch_that_is_almost_empty_stays_in_documents_as_short_as_molecules(corpus):
    batch = packed_batch(
        corpus.train, np.arange(2), bos_id=1, eos_id=2, slots=300, step_tokens=1, filled=True
    )
    lengths = batch.documents.offsets.diff()
    assert lengths.sum() == 300
    assert len(lengths) > 4
    assert lengths[2:].max() == lengths[:2].max() == batch.positions.max() + 1


def test_validation_shows_every_molecule_once(corpus):
    batches = list(ValidationBatches(corpus.validation, tokens=300, bos_id=1, eos_id=2))
    assert sum(b.molecules for b in batches) == len(corpus.validation)
    assert sum(b.heavy_atoms for b in batches) == corpus.validation.heavy_atoms.sum()


def test_a_step_that_does_not_divide_into_blocks_is_refused(corpus):
    with pytest.raises(SubsetError, match=r"batch\.tokens=1000"):
        BatchShape(1000, 512).blocks(1)
    with pytest.raises(SubsetError, match=r"data\.molecules=100000"):
        MoleculeDataModule(corpus, BatchShape(512, 512), seed=0, molecules=100_000)
