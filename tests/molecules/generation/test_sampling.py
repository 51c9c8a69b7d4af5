"""Sampling: what is drawn follows from the seed and the model alone, not from how the batch shrinks."""

import pytest
import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.kernels import compiled
from chemscale.models.layers.key_values import KeyValueCache
from chemscale.molecules.generation import sampling
from chemscale.molecules.generation.sampling import (
    Sampling,
    batch_generator,
    draw,
    draw_sequences,
    sample,
    sample_batch,
)
from chemscale.molecules.likelihood import sequence_nll

END = 2


@pytest.fixture(scope="module")
def model():
    """Its weights are large: what it writes depends on every position."""
    torch.manual_seed(1)
    return ChemGPT(ChemGPTConfig(24, 32, layers=2, heads=4, window=16, initializer_range=0.3)).eval()


def without_a_cache(model, batch, how, seed):
    """The same draws from logits of whole sequences, finished ones taken out at once."""
    generator = torch.Generator().manual_seed(seed)
    done, going = {}, {index: [1] for index in range(batch)}
    for _ in range(how.max_length):
        with torch.no_grad():
            logits = model.dense(torch.tensor(list(going.values())))[:, -1]
        logits[:, [0, 1]] = -torch.inf
        for index, symbol in zip(list(going), draw(logits, how, generator).tolist(), strict=True):
            going[index].append(symbol)
            if symbol == END:
                done[index] = going.pop(index)[1:]
        if not going:
            break
    return [(done | {i: ids[1:] for i, ids in going.items()})[index] for index in range(batch)]


@pytest.mark.parametrize("compact_at", [0.0, 0.5, 0.75, 1.0])
def test_draws_are_those_of_whole_sequences_whenever_the_finished_leave(model, monkeypatch, compact_at):
    monkeypatch.setattr(sampling, "COMPACT_AT", compact_at)
    how = Sampling(max_length=90)
    drawn = sample_batch(model, 20, how, torch.Generator().manual_seed(5))
    assert drawn == without_a_cache(model, 20, how, 5)
    assert len({len(ids) for ids in drawn}) > 5


def test_a_sequence_that_is_not_finished_at_the_last_step_lacks_its_end(model):
    drawn = sample_batch(model, 8, Sampling(max_length=5), torch.Generator().manual_seed(0))
    assert any(len(ids) == 5 and ids[-1] != END for ids in drawn)
    assert all(END not in ids[:-1] for ids in drawn)


def test_keys_and_values_are_kept_in_the_precision_that_is_asked_for(model, monkeypatch):
    caches = []

    class Watched(KeyValueCache):
        def __init__(self, layers):
            super().__init__(layers)
            caches.append(self)

    monkeypatch.setattr(compiled, "_wanted", False)  # the kernel for CPUs keeps float32 only
    monkeypatch.setattr(sampling, "KeyValueCache", Watched)
    monkeypatch.setattr(sampling, "COMPACT_AT", 0.0)
    for precision in ("32", "bf16"):
        how = Sampling(max_length=40, precision=precision)
        drawn = sample_batch(model, 8, how, torch.Generator().manual_seed(0))
        assert all(2 <= symbol < 24 for ids in drawn for symbol in ids)
    assert caches[0].bytes == 2 * caches[1].bytes > 0
    with pytest.raises(ValueError, match="--precision 16"):
        Sampling(precision="16")


def test_the_same_seed_and_batch_give_the_same_molecules(model):
    first, again = (list(sample(model, 10, Sampling(), seed=3, batch=4)) for _ in range(2))
    assert first == again
    assert [len(part) for part in first] == [4, 4, 2]
    assert first != list(sample(model, 10, Sampling(), seed=4, batch=4))


def test_a_start_is_read_once_and_continued(model):
    """The draws are those from logits of whole sequences that begin with it."""
    start, how = [5, 9, 7], Sampling(max_length=8)
    drawn = sample_batch(model, 6, how, torch.Generator().manual_seed(2), start=start)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        logits = model.dense(torch.tensor([[1, *start]]))[:, -1].repeat(6, 1)
    logits[:, [0, 1]] = -torch.inf
    assert [ids[0] for ids in drawn] == draw(logits, how, generator).tolist()
    assert max(map(len, drawn)) <= 8
    with pytest.raises(ValueError, match="leaves no room"):
        sample_batch(model, 1, how, generator, start=[5] * 2048)


@pytest.mark.parametrize("start", [(), (5, 9)])
def test_likelihoods_are_those_of_the_model_whatever_was_drawn_from(model, start):
    how = Sampling(temperature=0.7, top_k=5, max_length=30)
    drawn = draw_sequences(model, 12, how, torch.Generator().manual_seed(1), start=start)
    whole = sequence_nll(model, [[*start, *ids] for ids in drawn.ids])
    torch.testing.assert_close(sum(drawn.start_nll) + torch.tensor(drawn.nll), whole, rtol=1e-5, atol=1e-3)


def test_a_batch_is_a_function_of_the_seed_and_its_number(model):
    whole = list(sample(model, 12, Sampling(), seed=7, batch=4))
    third = sample_batch(model, 4, Sampling(), batch_generator(7, 2, torch.device("cpu")))
    assert whole[2] == third
    assert whole[0] != whole[1]
