"""Compilation is decided before anything is spent, from what the configuration and the machine say."""

import pytest

from chemscale.common.sections import ConfigurationError
from chemscale.training.compilation.decision import PAYS_FROM, decide
from chemscale.training.compilation.toolchain import missing_for_compiling

LONG = {
    "cuda": True,
    "here": False,
    "steps": PAYS_FROM,
    "strategy": "single",
    "precision": "32",
    "forces": True,
}


def test_auto_compiles_long_runs_on_a_gpu_and_nothing_else():
    assert decide("auto", **LONG).on
    short = decide("auto", **{**LONG, "steps": PAYS_FROM - 1})
    assert not short.on
    assert "too few" in short.describe()
    on_cpu = decide("auto", **{**LONG, "cuda": False})
    assert not on_cpu.on
    assert "CPU" in on_cpu.reason


def test_what_is_asked_for_is_done_whatever_auto_would_do():
    assert decide(True, **{**LONG, "cuda": False, "steps": 10}).on
    assert not decide(False, **LONG).on


@pytest.mark.parametrize("changed", [{"strategy": "zero3"}, {"strategy": "fsdp2"}, {"precision": "16-mixed"}])
def test_what_does_not_go_with_compilation_is_left_out_by_auto_and_refused_by_true(changed):
    assert not decide("auto", **LONG | changed).on
    with pytest.raises(ConfigurationError, match=r"trainer\.compile=true: (strategy|precision)="):
        decide(True, **LONG | changed)


def test_a_torch_that_drops_second_derivatives_is_refused_by_number():
    older = missing_for_compiling(cuda=False, forces=True, torch_version="2.12.1+cpu")
    assert "2.12.1" in older
    assert "181581" in older
    assert not missing_for_compiling(cuda=False, forces=False, torch_version="2.12.1+cpu")
    assert not missing_for_compiling(cuda=False, forces=True, torch_version="2.13.0+cu130")


def test_a_machine_without_compiler_or_headers_says_so(monkeypatch, tmp_path):
    assert "Python.h" in missing_for_compiling(cuda=False, forces=False, headers=tmp_path)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no C++ compiler here (no-such-compiler)" in missing_for_compiling(cuda=False, forces=False)
    with pytest.raises(ConfigurationError, match="no-such-compiler"):
        decide(True, **{**LONG, "cuda": False, "here": True})


def test_a_gpu_needs_triton(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "Triton" in missing_for_compiling(cuda=True, forces=False)
