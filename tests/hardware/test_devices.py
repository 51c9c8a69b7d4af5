"""A device is named, and refused in a sentence where it is not here."""

import pytest
import torch

from chemscale.hardware.accelerators import HardwareError
from chemscale.hardware.devices import named_device


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", "mps", "", "cuda:-1"])
def test_a_device_that_is_no_such_name_is_refused(name):
    with pytest.raises(HardwareError, match="give auto, cpu, cuda or cuda:N"):
        named_device(name)


def test_a_gpu_that_is_not_here_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert named_device("auto") == named_device(None) == torch.device("cpu")
    with pytest.raises(HardwareError, match=r"--device cuda: this machine has no such GPU.*--device cpu"):
        named_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert named_device("cuda:1").index == 1
    with pytest.raises(HardwareError, match="it has 2, counted from cuda:0"):
        named_device("cuda:2")
