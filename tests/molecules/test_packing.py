"""The order of the data and its blocks."""

import numpy as np
import pytest
import torch

from chemscale.molecules.batches import IGNORED, TrainingBatches, ValidationBatches, packed_batch
from chemscale.molecules.data_module import BatchShape, MoleculeDataModule, SubsetError
from chemscale.molecules.order import Permutation
from chemscale.molecules.packing import BlockPlan, PackingError, pack


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
