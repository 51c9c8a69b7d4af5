"""The cache of a generation: the logits of the whole sequence, in no more memory than it needs."""

import pytest
import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.layers.key_values import CHUNK, KeyValueCache

WINDOW = 24


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ChemGPT(ChemGPTConfig(50, 32, layers=3, heads=4, window=WINDOW, initializer_range=0.2)).eval()


def written(model, tokens, cache):
    with torch.no_grad():
        return torch.stack([model.step(column, cache) for column in tokens.unbind(1)], dim=1)


def test_generating_with_the_cache_gives_the_logits_of_the_whole_sequence(model):
    """Also where room was made twice, and the local layer gave up what it does not see."""
    tokens = torch.randint(4, 50, (3, 2 * CHUNK + 7))
    with torch.no_grad():
        whole = model.dense(tokens)
    torch.testing.assert_close(written(model, tokens, KeyValueCache(3)), whole, rtol=1e-4, atol=2e-5)


def test_sequences_that_stay_go_on_as_if_the_others_had_never_been(model):
    tokens = torch.randint(4, 50, (4, CHUNK + 9))
    cache, stay = KeyValueCache(3), torch.tensor([0, 3])
    written(model, tokens[:, :20], cache)
    cache.keep(stay)
    rest = written(model, tokens[stay, 20:], cache)
    with torch.no_grad():
        torch.testing.assert_close(rest, model.dense(tokens[stay])[:, 20:], rtol=1e-4, atol=2e-5)


def test_memory_follows_what_was_written_and_not_what_may_be(model):
    cache, tokens = KeyValueCache(3), torch.randint(4, 50, (5, 2 * CHUNK + 1))
    a_position = 2 * 5 * 32 * 4  # keys and values, 5 sequences, width 32, float32
    written(model, tokens[:, :1], cache)
    assert cache.bytes == 3 * CHUNK * a_position
    written(model, tokens[:, 1:], cache)
    local = WINDOW - 1 + CHUNK
    assert cache.bytes == (3 * CHUNK + local + 3 * CHUNK) * a_position
    cache.keep(torch.tensor([True, False, True, False, False]))
    assert cache.bytes == (6 * CHUNK + local) * a_position * 2 // 5


def test_the_cache_is_of_the_precision_that_the_model_computes_in(model):
    sizes = {}
    for precision in (torch.float32, torch.bfloat16):
        cache = KeyValueCache(3)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            written(model, torch.randint(4, 50, (2, 3)), cache)
        sizes[precision] = cache.bytes
    assert sizes[torch.float32] == 2 * sizes[torch.bfloat16]
