"""The kernels are built once, checked before they are believed, and done without where they cannot be."""

import logging

import pytest
import torch

from chemscale.models.kernels import building, compiled
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
    if building.find_compiler() is None:
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
    monkeypatch.setattr(building, "_processor", lambda: "another processor of the cluster")
    compiled.library.cache_clear()
    assert compiled.library() is not None
    assert len(list(built.parent.glob("*.so"))) == 2


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        (None, "CXX=no-such-compiler"),
        ("echo 'internal compiler error' >&2; exit 1", "internal compiler error"),
        ("printf '\\377'; test $1 = --version || exit 7", "exit status 7"),
        ("echo called with $1 >&2; exit 1", "called with --first"),
    ],
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
        monkeypatch.setenv("CXX", str(script) + (" --first" if "called" in compiler else ""))
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
        "int step_attention(...) { return 0; }\n"
        "void gelu(const float*, const float*, float* out, long, int) { *out = 1; } }\n"
    )
    monkeypatch.setattr(compiled, "SOURCE", wrong)
    with caplog.at_level(logging.WARNING):
        found, plain = attend()
    assert "wrong numbers" in caplog.text
    assert torch.equal(found, plain)


def test_a_compiler_that_makes_no_library_leaves_nothing_behind(tmp_path, monkeypatch, caplog):
    script = tmp_path / "c++"
    script.write_text('#!/bin/sh\nfor last; do :; done\ntest $1 = --version || : > "$last"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    with caplog.at_level(logging.WARNING):
        found, plain = attend()
    assert torch.equal(found, plain)
    assert "left out" in caplog.text
    assert list((tmp_path / "cache").rglob("*.so")) == []


def test_a_library_without_our_functions_is_not_used(tmp_path, monkeypatch, caplog):
    needs_compiler()
    other = tmp_path / "other.cpp"
    other.write_text("int something_else() { return 0; }\n")
    monkeypatch.setattr(compiled, "SOURCE", other)
    with caplog.at_level(logging.WARNING):
        found, plain = attend()
    assert "undefined symbol" in caplog.text
    assert torch.equal(found, plain)


@pytest.mark.slow
def test_a_library_that_a_full_disk_cut_short_is_made_again(tmp_path):
    needs_compiler()
    assert compiled.library() is not None
    (built,) = (tmp_path / "cache").rglob("*.so")
    whole = built.stat().st_size
    built.rename(tmp_path / "mapped")  # shortened in place, it would end this process, which has it open
    built.write_bytes((tmp_path / "mapped").read_bytes()[:10_000])
    compiled.library.cache_clear()
    assert compiled.library() is not None
    assert built.stat().st_size == whole


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path, monkeypatch, caplog):
    needs_compiler()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHEMSCALE_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        found, plain = attend()
    assert torch.equal(found, plain)
    assert "left out" in caplog.text
