"""Sums over edges equal their plain reference in value and all derivatives, and are the same every time."""

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from chemscale.models.kernels.compiled import use_kernels
from chemscale.models.layers import edge_products, segments
from chemscale.models.layers.edge_products import Ends, convolve, sum_outer
from chemscale.models.layers.segments import Segments, gather, offsets_of, segment_sum

ATOMS, EDGES = 7, 40


@contextlib.contextmanager
def plain_kernels():
    """PyTorch's own operations, as with ``trainer.kernels=false``."""
    use_kernels(False)
    try:
        yield
    finally:
        use_kernels(True)


@pytest.fixture
def ends():
    """Random edges by receiver, atoms 3 and 6 without any."""
    generator = torch.Generator().manual_seed(0)
    alive = torch.tensor([0, 1, 2, 4, 5])
    receivers = alive[torch.randint(5, (EDGES,), generator=generator)].sort().values
    senders = alive[torch.randint(5, (EDGES,), generator=generator)]
    order = senders.argsort(stable=True)
    return Ends(
        Segments(senders, offsets_of(senders, ATOMS, order), order),
        Segments(receivers, offsets_of(receivers, ATOMS)),
    )


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def leaves(*tensors):
    return tuple(t.clone().requires_grad_() for t in tensors)


CASES = {
    "convolution of scalars": (convolve, random(EDGES, 5), random(ATOMS, 5)),
    "convolution of vectors": (convolve, random(EDGES, 5), random(ATOMS, 3, 5)),
    "outer products": (sum_outer, random(EDGES, 5), random(EDGES, 3)),
}


@pytest.fixture(params=list(CASES))
def case(request):
    return CASES[request.param]


def derivatives(function, ends, *tensors):
    """The value, its gradient and the gradient of a function of that, flattened."""
    inputs = leaves(*tensors)
    value = function(*inputs, ends)
    first = torch.autograd.grad(value.sin().sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
    return [value, *first, *second]


def pairs_of(ends):
    """The edges and their reverses, as members of pairs."""
    halves = ends.senders.ids.shape[0]
    senders = torch.cat([ends.senders.ids, ends.receivers.ids])
    receivers = torch.cat([ends.receivers.ids, ends.senders.ids])
    by_receiver = receivers.argsort(stable=True)
    senders, receivers = senders[by_receiver], receivers[by_receiver]
    pair_of = torch.arange(halves).repeat(2)[by_receiver]
    order = senders.argsort(stable=True)
    return Ends(
        Segments(senders, offsets_of(senders, ATOMS, order), order),
        Segments(receivers, offsets_of(receivers, ATOMS)),
        Segments(pair_of, torch.arange(0, 2 * halves + 1, 2), pair_of.argsort(stable=True)),
    )


@pytest.mark.parametrize("cache", [1, 200, 1 << 20], ids=["row by row", "in runs", "at once"])
@pytest.mark.parametrize("x", [random(ATOMS, 5), random(ATOMS, 3, 5)], ids=["scalars", "vectors"])
def test_filters_of_pairs_are_those_of_both_edges(x, ends, cache, monkeypatch):
    monkeypatch.setattr(edge_products, "CACHE_BYTES", cache)
    filters, pairs = random(EDGES, 5), pairs_of(ends)
    found = derivatives(convolve, pairs, filters, x)
    with plain_kernels():
        expected = derivatives(
            lambda f, *rest: convolve(f[pairs.pairs.ids], *rest), Ends(*pairs[:2]), filters, x
        )
    for ours, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cache", [1, 200, 1 << 20], ids=["row by row", "in runs", "at once"])
def test_the_cached_kernels_equal_the_plain_ones_to_second_order(case, ends, cache, monkeypatch):
    monkeypatch.setattr(edge_products, "CACHE_BYTES", cache)
    function, *tensors = case
    found = derivatives(function, ends, *tensors)
    with plain_kernels():
        expected = derivatives(function, ends, *tensors)
    for ours, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)


def test_derivatives_of_the_cached_kernels_are_those_of_finite_differences(case, ends):
    function, *tensors = case
    assert torch.autograd.gradcheck(lambda *inputs: function(*inputs, ends), leaves(*tensors))
    assert torch.autograd.gradgradcheck(lambda *inputs: function(*inputs, ends), leaves(*tensors))


@pytest.mark.parametrize("wanted", [True, False])
def test_the_key_for_kernels_switches_them(case, ends, wanted):
    function, *tensors = case
    with contextlib.nullcontext() if wanted else plain_kernels():
        step = function(*leaves(*tensors), ends).grad_fn
    names = []
    while step is not None:
        names.append(step.name())
        step = step.next_functions[0][0] if step.next_functions else None
    assert any(name in ("_ConvolutionBackward", "_OuterSumBackward") for name in names) == wanted


def test_plain_sums_are_those_of_index_add(ends):
    filters, x = random(EDGES, 5), random(ATOMS, 5)
    with plain_kernels():
        found = convolve(filters, x, ends)
    messages = filters * x[ends.senders.ids]
    expected = torch.zeros(ATOMS, 5, dtype=torch.float64).index_add(0, ends.receivers.ids, messages)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)], ids=["numbers", "rows", "matrices"])
@pytest.mark.parametrize("end", ["senders", "receivers"])
def test_gather_and_segment_sum_are_derivatives_of_each_other(ends, end, shape):
    members = getattr(ends, end)
    x, messages = random(ATOMS, *shape), random(EDGES, *shape)
    assert torch.equal(gather(x, members), x[members.ids])
    expected = torch.zeros(ATOMS, *shape, dtype=torch.float64).index_add(0, members.ids, messages)
    torch.testing.assert_close(segment_sum(messages, members), expected)
    assert segment_sum(messages, members)[3].abs().sum() == 0
    for function, argument in ((gather, x), (segment_sum, messages)):
        assert torch.autograd.gradcheck(lambda a, f=function: f(a, members), leaves(argument))
        assert torch.autograd.gradgradcheck(lambda a, f=function: f(a, members).sin(), leaves(argument))


class Seen(TorchDispatchMode):
    """The names of the operations that run, those inside the library's own among them."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.name())
        inner = {
            "chemscale::gather_rows": segments._gather_rows,
            "chemscale::segment_sum": segments._segment_sum,
        }.get(function.name())
        if inner is None:
            return function(*args, **(kwargs or {}))
        with self:
            return inner(*args)


def test_no_operation_of_any_derivative_depends_on_the_order_of_threads_on_a_gpu(case, ends):
    function, *tensors = case
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with Seen() as seen, plain_kernels():
            derivatives(function, ends, *tensors)
    finally:
        torch.use_deterministic_algorithms(before)
    assert {"aten::_embedding_bag_forward_only", "aten::index_select"} <= seen.names
    risky = ("backward", "index_add", "index_put", "scatter", "cumsum", "put_", "bincount", "segment_reduce")
    assert not [name for name in seen.names if any(word in name for word in risky)]


def test_the_sum_of_a_segment_does_not_depend_on_the_others(ends):
    messages = random(EDGES, 3).float()
    whole = segment_sum(messages, ends.receivers)
    for atom in range(ATOMS):
        mine = messages[ends.receivers.ids == atom]
        alone = Segments(torch.zeros(len(mine), dtype=torch.int64), torch.tensor([0, len(mine)]))
        assert torch.equal(segment_sum(mine, alone)[0], whole[atom])


def test_library_operations_pass_pytorchs_own_checks(ends):
    for name, argument in (("gather_rows", random(ATOMS, 2)), ("segment_sum", random(EDGES, 2))):
        operation = getattr(torch.ops.chemscale, name).default
        for members in (ends.senders, ends.receivers):
            torch.library.opcheck(operation, (argument.requires_grad_(), *members))
