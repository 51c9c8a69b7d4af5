"""The kernels are built once, checked before they are believed, and done without where they cannot be."""

import logging

import pytest
import torch

from chemscale.models.kernels import compiled
from chemscale.models.layers.attention import document_attention
from chemscale.models.layers.documents import Documents
from chemscale.models.layers.rectangles import rectangle_attention


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """As on a machine that has no kernels yet."""
    monkeypatch.setenv("CHEMSCALE_CACHE", str(tmp_path / "cache"))
    compiled.library.cache_clear()
    yield
    compiled.library.cache_clear()


def needs_compiler():
    if compiled._compiler() is None:
        pytest.skip("needs a C++ compiler (g++)")


def attend():
    qkv = torch.randn(12, 3 * 16, generator=torch.Generator().manual_seed(0))
    documents = Documents.from_lengths([5, 7])
    return document_attention(qkv, 8, documents, None), rectangle_attention(qkv, 8, documents, None)


@pytest.mark.slow
def test_they_are_compiled_once_and_loaded_from_then_on(tmp_path, monkeypatch):
    needs_compiler()
    assert compiled.library() is not None
    (built,) = (tmp_path / "cache" / "kernels").glob("*.so")
    made = built.stat().st_mtime_ns
    compiled.library.cache_clear()
    assert compiled.library() is not None
    assert built.stat().st_mtime_ns == made
    monkeypatch.setattr(compiled, "_processor", lambda: "another processor of the cluster")
    compiled.library.cache_clear()
    assert compiled.library() is not None
    assert len(list(built.parent.glob("*.so"))) == 2


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [(None, "No C++ compiler"), ("echo 'internal compiler error' >&2; exit 1", "internal compiler error")],
)
def test_without_a_working_compiler_pytorchs_operations_run_and_one_line_says_so(
    compiler, reason, tmp_path, monkeypatch, caplog
):
    if compiler is None:
        monkeypatch.setenv("CXX", "no-such-compiler")
    else:
        script = tmp_path / "c++"
        script.write_text(f"#!/bin/sh\n{compiler}\n")
        script.chmod(0o755)
        monkeypatch.setenv("CXX", str(script))
    with caplog.at_level(logging.WARNING):
        found, plain = attend()
        attend()
    assert torch.equal(found, plain)
    assert len(caplog.records) == 1
    assert reason in caplog.text


def test_a_library_that_computes_wrong_numbers_is_not_used(tmp_path, monkeypatch, caplog):
    needs_compiler()
    wrong = tmp_path / "wrong.cpp"
    wrong.write_text(
        'extern "C" { int document_attention(...) { return 0; }\n'
        "void gelu(const float*, const float*, float* out, long, int) { *out = 1; } }\n"
    )
    monkeypatch.setattr(compiled, "SOURCE", wrong)
    with caplog.at_level(logging.WARNING):
        found, plain = attend()
    assert "wrong numbers" in caplog.text
    assert torch.equal(found, plain)


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path, monkeypatch, caplog):
    needs_compiler()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHEMSCALE_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        found, plain = attend()
    assert torch.equal(found, plain)
    assert "left out" in caplog.text
