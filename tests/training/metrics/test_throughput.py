"""What a device can do at best comes from one table, and is never guessed."""

import pytest

from chemscale.hardware.accelerators import ACCELERATORS, accelerator_named
from chemscale.training.metrics.throughput import peak_flops


@pytest.mark.parametrize(
    ("device", "key"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA H200 NVL", "h200-nvl"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA GB200", "gb200"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40", "l40"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("Tesla V100-SXM2-32GB", "v100"),
        ("Tesla V100-SXM2-16GB", "v100-16gb"),
    ],
)
def test_a_device_has_the_peak_of_its_own_entry(device, key):
    assert accelerator_named(device) == key
    assert peak_flops(device, "16-mixed") == ACCELERATORS[key].peak


@pytest.mark.parametrize(
    "device", ["NVIDIA GB2000", "NVIDIA L400", "NVIDIA A10G", "NVIDIA RTX A6000", "AMD EPYC 9654 (2 threads)"]
)
def test_the_peak_of_a_device_that_is_not_in_the_table_is_unknown(device):
    assert accelerator_named(device) is None
    assert peak_flops(device, "bf16-mixed") is None


@pytest.mark.parametrize(
    ("precision", "tflops"), [("32", 67), ("tf32", 494), ("bf16-mixed", 989), ("16-mixed", 989)]
)
def test_every_precision_has_a_peak_of_its_own(precision, tflops):
    assert peak_flops("NVIDIA H100 80GB HBM3", precision) == tflops * 1e12


def test_a_gpu_without_bf16_computes_it_as_float32():
    assert peak_flops("Tesla V100-SXM2-32GB", "bf16-mixed") == ACCELERATORS["v100"].float32
    assert peak_flops("NVIDIA H100 80GB HBM3", "bf16-mixed") == ACCELERATORS["h100"].peak


def test_a_peak_never_rises_with_the_precision():
    for name, known in ACCELERATORS.items():
        assert known.float32 <= known.tf32 <= known.peak, name


def test_the_h200_card_and_the_small_v100_are_not_taken_for_their_faster_and_larger_kin():
    assert peak_flops("NVIDIA H200 NVL", "bf16-mixed") == 835e12
    assert ACCELERATORS[accelerator_named("Tesla V100-SXM2-16GB")].memory_gib == 15
