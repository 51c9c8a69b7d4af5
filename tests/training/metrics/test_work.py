"""What a step asks of a device is counted wherever its tensors lie."""

import torch

from chemscale.models.layers.trilinear import in_one_part, trilinear
from chemscale.training.metrics.work import count_work


def test_operations_and_bytes_of_a_sum_are_those_of_one_kernel():
    a, b = torch.ones(1000), torch.ones(1000)
    counted = count_work(lambda: a + b)
    assert (counted.operations, counted.moved, counted.largest) == (1, 3 * 4000, 4000)


def test_views_and_bare_memory_launch_nothing():
    a = torch.ones(10, 10)
    counted = count_work(lambda: (a.T, a[:5], a.view(-1), torch.empty(1000), a.detach()))
    assert counted.operations == 0


def test_the_backward_pass_is_counted_too():
    a = torch.ones(10, requires_grad=True)
    forward = count_work(lambda: (a * a).sum()).operations
    assert count_work(lambda: (a * a).sum().backward()).operations > forward


def test_an_equivariant_product_is_counted_as_a_gpu_computes_it():
    coupling, left, right = torch.rand(9, 9, 9), torch.rand(500, 9, 64), torch.rand(500, 9, 64)
    in_parts = count_work(lambda: trilinear(coupling, left, right))
    with in_one_part():
        whole = count_work(lambda: trilinear(coupling, left, right))
    assert whole.operations < in_parts.operations
    assert whole.largest == 500 * 9 * 9 * 64 * 4, "the outer product"
    assert in_parts.largest < whole.largest
