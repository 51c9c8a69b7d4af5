"""Every test here runs on the CPU as well, but for those of what only a GPU has."""

import pytest
import torch


def pytest_generate_tests(metafunc):
    """`device` is the CPU in the ordinary tests, and the GPU with -m gpu."""
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)


@pytest.fixture
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return request.param


@pytest.fixture
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return "cuda"
