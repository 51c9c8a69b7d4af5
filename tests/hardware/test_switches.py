"""What has to hold of PyTorch before anything is computed on a GPU."""

import subprocess
import sys

import pytest
import torch

from chemscale.hardware.devices import named_device
from chemscale.points.placement import Placement
from chemscale.training.distributed.ranks import Ranks, take_gpu
from chemscale.training.trainer import build_trainer
from tests.helpers.points import point_in


@pytest.fixture(autouse=True)
def _as_pytorch_is_made():
    """The defaults of PyTorch, before and after."""
    fill = torch.utils.deterministic.fill_uninitialized_memory

    def reset(filled):
        torch.backends.cuda.enable_cudnn_sdp(True)
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = filled

    reset(True)
    yield
    reset(fill)


def test_training_raises_where_an_operation_could_give_other_bits_and_fills_no_memory(tmp_path, smiles_file):
    build_trainer(point_in(tmp_path, smiles_file), Ranks())
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_training_that_need_not_be_deterministic_is_free(tmp_path, smiles_file):
    build_trainer(point_in(tmp_path, smiles_file, "trainer.deterministic=false"), Ranks())
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    "first",
    [
        lambda: named_device("cpu"),
        lambda: take_gpu(Ranks(), "cuda"),
        lambda: Placement("cpu", None).trial_device,  # type: ignore[arg-type]
    ],
    ids=["generation", "a rank", "a trial of a plan"],
)
def test_whatever_takes_a_device_first_leaves_attention_that_plans_every_shape_out(first):
    assert torch.backends.cuda.cudnn_sdp_enabled()
    first()
    assert not torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.parametrize("before", [None, ":16:8"])
def test_the_workspace_of_cublas_is_set_before_torch_is_there_unless_somebody_did(before, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if before:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", before)
    code = "import sys, os, chemscale; print(os.environ['CUBLAS_WORKSPACE_CONFIG'], 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == [before or ":4096:8", "False"]
