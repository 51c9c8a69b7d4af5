"""The cache of a generation: the logits of the whole sequence, in no more memory than it needs."""

import pytest
import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.kernels import compiled
from chemscale.models.kernels.stepping import LANES
from chemscale.models.layers.key_values import CHUNK, KeyValueCache

WINDOW = 24


@pytest.fixture(autouse=True, params=["kernel", "plain"])
def way(request, monkeypatch):
    """Both ways to attend: the kernel for CPUs, and PyTorch's own attention."""
    if request.param == "kernel" and compiled.library() is None:
        pytest.skip("there is no C++ compiler")
    monkeypatch.setattr(compiled, "_wanted", request.param == "kernel")
    return request.param


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


@pytest.mark.parametrize("heads", [1, 2, 4, 16, 32])
def test_heads_of_every_width_see_their_window_and_nothing_else(heads):
    """Widths that the kernel was compiled for and others; rooms that do not end at a whole vector."""
    torch.manual_seed(heads)
    model = ChemGPT(ChemGPTConfig(20, 96, 2, heads, window=19, initializer_range=0.1)).eval()
    tokens = torch.randint(3, 20, (2, CHUNK + 21))
    with torch.no_grad():
        torch.testing.assert_close(
            written(model, tokens, KeyValueCache(2)), model.dense(tokens), rtol=1e-4, atol=2e-5
        )


def test_a_sequence_does_not_depend_on_the_others_to_the_bit(model, way):
    if way == "plain":
        pytest.skip("PyTorch's attention promises no bits")
    qkv, cache, alone = torch.randn(40, 6, 96), KeyValueCache(1), KeyValueCache(1)
    for step in qkv:
        together = cache.attend(0, step, 4, 8)
        assert torch.equal(alone.attend(0, step[2:3], 4, 8)[0], together[2])


def test_memory_follows_what_was_written_and_not_what_may_be(model, way):
    cache, tokens = KeyValueCache(3), torch.randint(4, 50, (5, 2 * CHUNK + 1))
    a_position = 2 * 5 * 32 * 4  # keys and values, 5 sequences, width 32, float32
    first, everything, local = CHUNK, 3 * CHUNK, WINDOW - 1 + CHUNK
    if way == "kernel":  # parts of LANES positions, given up whole
        first, everything = LANES, 2 * CHUNK + LANES
        local = everything - (2 * CHUNK + 1 - WINDOW) // LANES * LANES
    written(model, tokens[:, :1], cache)
    assert cache.bytes == 3 * first * a_position
    written(model, tokens[:, 1:], cache)
    assert cache.bytes == (2 * everything + local) * a_position
    cache.keep(torch.tensor([True, False, True, False, False]))
    assert cache.bytes == (2 * everything + local) * a_position * 2 // 5


def test_the_cache_is_of_the_precision_that_the_model_computes_in(model, way):
    if way == "kernel":
        pytest.skip("the kernel keeps float32 only")
    sizes = {}
    for precision in (torch.float32, torch.bfloat16):
        cache = KeyValueCache(3)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            written(model, torch.randint(4, 50, (2, 3)), cache)
        sizes[precision] = cache.bytes
    assert sizes[torch.float32] == 2 * sizes[torch.bfloat16]
