"""Every strategy trains as one float32 process does, and the certificate would see it if one did not."""

import sys

import pytest
import torch

from chemscale.testing.equivalence import MODELS, TOLERANCES, all_cases, certify
from chemscale.training.compilation.install import BACKEND
from tests.helpers.preloaded import python


@pytest.fixture(autouse=True)
def ranks_start_at_once(monkeypatch):
    monkeypatch.setattr(sys, "executable", python())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Where the data of all certificates are prepared, once."""
    folder = tmp_path_factory.mktemp("data")
    return [f"corpora={folder}/corpora", f"structures={folder}/structures"]


@pytest.mark.slow
def test_every_strategy_trains_as_one_float32_process_or_says_why_not(data):
    # A language model and a potential under every strategy, in half precision under one of each code that
    # shards; of the others what their own code can break.
    whole, others = ["chemgpt", "painn"], [model for model in MODELS if model not in ("chemgpt", "painn")]
    cases = list(all_cases(whole, [2], precisions=["32"], accumulations=[4]))
    cases += all_cases(["chemgpt"], [2], ["ddp", "zero3", "fsdp2"], ["bf16-mixed"], [4])
    cases += all_cases(["painn"], [2], ["zero2"], ["bf16-mixed"], [4])
    cases += all_cases(others, [2], ["zero2", "fsdp2"], ["32"], [4])
    verdicts = certify(cases, data)
    assert [v.case.key for v in verdicts if not v.passed] == []
    refused = {v.case.strategy for v in verdicts if v.refused and v.case.precision == "32"}
    assert refused == {"zero3", "fsdp2"}
    assert not any(v.refused for v in verdicts if v.case.model.startswith("chemgpt"))


@pytest.mark.slow
def test_compiled_steps_train_as_one_float32_process_or_say_why_not(data, monkeypatch):
    monkeypatch.setenv(BACKEND, "aot_eager")
    cases = list(all_cases(["painn-compiled"], [2], ["zero1", "zero3"], ["32"], [4]))
    cases += all_cases(["chemgpt-compiled"], [2], ["ddp"], ["32"], [4])
    verdicts = certify(cases, data)
    assert [v.case.key for v in verdicts if not v.passed] == []
    assert {v.case.strategy for v in verdicts if v.refused} == {"zero3"}


@pytest.mark.slow
def test_the_certificate_fails_where_steps_that_should_be_compiled_were_not(data, monkeypatch):
    monkeypatch.setenv(BACKEND, "no such backend")
    cases = list(all_cases(["painn-compiled"], [1], [], ["32"], [1]))
    with pytest.raises(RuntimeError, match="its steps were not compiled"):
        certify(cases, data)


@pytest.mark.gpu
def test_the_certificate_holds_on_the_gpus_of_this_machine(tmp_path):
    gpus = torch.cuda.device_count()
    if not gpus:
        pytest.skip("no CUDA device")
    cases = all_cases(["chemgpt", "painn"], sorted({1, gpus}), precisions=list(TOLERANCES), accumulations=[4])
    where = [f"corpora={tmp_path}/corpora", f"structures={tmp_path}/structures", "trainer.accelerator=cuda"]
    verdicts = certify(list(cases), where)
    assert [v.case.key for v in verdicts if not v.passed] == []


WRONG = """
import sys
from pytorch_lightning.plugins.precision import DeepSpeedPrecision
from chemscale.training.distributed.zero import ZeroPrecision
ZeroPrecision.backward = DeepSpeedPrecision.backward
"""


@pytest.mark.slow
def test_the_certificate_catches_a_loss_that_is_divided_twice(data, tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WRONG)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    cases = list(all_cases(["chemgpt"], [1], ["zero1"], ["32"], [4]))
    verdicts = certify(cases, data)
    wrong = {v.case.strategy: v for v in verdicts}["zero1"]
    assert not wrong.passed
    assert wrong.gradient == pytest.approx(0.75, abs=0.05)
