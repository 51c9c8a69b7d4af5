"""The memory model: activations are what autograd keeps, states are shared as each strategy shares them."""

from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from chemscale.hardware import memory
from chemscale.hardware.memory import GIB, Memory, Transformer, Weights, rank_memory
from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.kernels.compiled import library, use_kernels
from chemscale.models.layers.documents import Documents
from chemscale.points.memory.language import cpu_attention, layout
from chemscale.training.metrics.flops import saved_bytes


def nll(model: ChemGPT, lengths: np.ndarray, half: bool) -> torch.Tensor:
    """The loss of molecules of these lengths."""
    tokens = torch.randint(3, model.config.vocab_size, (int(lengths.sum()),))
    positions = torch.cat([torch.arange(n) for n in lengths])
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = model(tokens, positions, Documents.from_lengths(lengths))
        return F.cross_entropy(logits.float(), tokens, reduction="none").sum()


def kept(model: ChemGPT, lengths: np.ndarray, half: bool) -> float:
    """Bytes that autograd keeps for the backward pass, weights not counted."""
    weights = sum(p.numel() * 4 for p in model.parameters() if p.dim() > 1)
    norms = sum(p.numel() * 4 for name, p in model.named_parameters() if "norm" in name and "weight" in name)
    everything = saved_bytes(lambda: nll(model, lengths, half))
    # Autograd names the float32 weights too, except where autocast made it a copy to keep.
    return everything - (0 if half else weights - 4 * model.position_embedding.weight.numel()) - norms


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("longest", [60, 240])
@pytest.mark.parametrize(
    ("vocab", "width", "layers", "heads"), [(50, 64, 2, 4), (700, 32, 4, 4), (70, 160, 3, 16)]
)
@pytest.mark.parametrize("kernels", [True, False])
def test_activations_are_what_autograd_keeps(vocab, width, layers, heads, longest, half, kernels, request):
    if kernels and library() is None:
        pytest.skip("needs a C++ compiler (g++)")
    use_kernels(kernels)
    request.addfinalizer(lambda: use_kernels(True))
    lengths = np.random.default_rng(0).integers(longest // 2, longest, 12)
    slots, squares, most = layout(lengths)
    way = cpu_attention(width // heads, most, kernels)
    assert way == ("kernel" if kernels else "fused" if longest > 128 else "products")
    shape = Transformer(width, layers, heads, vocab, slots, squares, way)
    model = ChemGPT(ChemGPTConfig(vocab, width, layers, heads, max_positions=256))
    tokens = float(lengths.sum())
    working = tokens * width * (8 + (2 if half else 4))
    predicted = shape.activation_bytes(tokens, half=half, recompute=False) - working
    assert predicted == pytest.approx(kept(model, lengths, half), rel=0.02)


@pytest.mark.parametrize("half", [False, True])
def test_recomputing_changes_no_bit_of_loss_and_gradients_and_no_name(half):
    lengths = np.random.default_rng(1).integers(5, 40, 20)
    torch.manual_seed(0)
    model = ChemGPT(ChemGPTConfig(40, 32, 3, 4, max_positions=64))
    names = list(model.state_dict())
    found = []
    for recompute in (False, True):
        torch.manual_seed(1)
        model.recompute = recompute
        model.zero_grad()
        loss = nll(model, lengths, half)
        loss.backward()
        found.append((loss.item(), [p.grad.clone() for p in model.parameters()]))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))
    assert list(model.state_dict()) == names


def test_recomputing_keeps_the_input_of_a_block_alone():
    lengths = np.random.default_rng(1).integers(5, 40, 40)
    model = ChemGPT(ChemGPTConfig(40, 64, 4, 4, max_positions=64))
    plain = kept(model, lengths, half=False)
    model.recompute = True
    inputs = 4 * 4 * 64 * lengths.sum()
    recomputed = saved_bytes(lambda: nll(model, lengths, half=False))
    shape = Transformer(64, 4, 4, 40, *layout(lengths)[:2], cpu_attention(16, 40, True))
    tail = lengths.sum() * shape.tail_bytes(half=False)
    assert recomputed == pytest.approx(inputs + tail, rel=0.05)
    assert recomputed < plain / 4


# --- shares ---


def test_what_a_strategy_shares_is_divided_by_the_ranks_and_the_rest_is_not():
    weights = Weights(1e9, block=5e7, rest=1e7)
    ddp, zero1, zero2, zero3, fsdp2 = (rank_memory(name, weights, 8) for name in memory.STAGES)
    assert (ddp.weights, ddp.gradients, ddp.optimizer) == (4e9, 4e9, 8e9)
    assert zero1.weights == zero2.weights == 4e9
    assert zero1.optimizer == zero2.optimizer == zero3.optimizer == 12e9 / 8
    assert zero3.weights == fsdp2.weights == 4e9 / 8
    assert fsdp2.states == 16e9 / 8
    assert rank_memory("single", weights, 1).total == 16e9
    assert zero1.total > rank_memory("zero1", weights, 64).total
    assert rank_memory("zero1", weights, 8, accumulate=2).carried == 4e9
    assert rank_memory("zero2", weights, 8, accumulate=2).carried == 4e9 / 8
    offloaded = rank_memory("zero2", weights, 8, offload=True)
    assert offloaded.optimizer == 0
    assert offloaded.host == 16e9 / 8
    with pytest.raises(ValueError, match="strategy=pipeline"):
        rank_memory("pipeline", weights, 8)


def test_zero3_is_planned_with_the_whole_model_that_each_gpu_sees_before_it_is_divided():
    weights = Weights(1e10, block=2e8, rest=1e8)
    many = rank_memory("zero3", weights, 512)
    assert many.states < 2e9
    assert many.total == many.placing > 4e10
    assert rank_memory("fsdp2", weights, 512).total < 1e10, "which divides one block after another"


def test_the_model_knows_the_buffers_that_the_strategies_are_given():
    from chemscale.training.distributed import zero

    assert memory.BUCKET == zero.BUCKET
    settings = zero.ZeroStrategy(3, process_group_backend="gloo", timeout=timedelta(minutes=1)).config
    assert settings["zero_optimization"]["stage3_max_live_parameters"] == memory.LIVE


def test_the_peak_is_where_most_is_alive():
    held = Memory(10, 4, 20, buffers=3, activations=100, carried=2, stepping=5)
    assert held.total == 10 + 20 + 2 + 3 + 100
    assert Memory(10, 4, 20, buffers=3, activations=0, carried=2, stepping=5).total == 10 + 20 + 4 + 5
    assert GIB == 1024**3
