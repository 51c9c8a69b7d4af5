"""The C++ kernels of ``cpu.cpp``: compiled once on a machine, checked, loaded, or done without."""

from __future__ import annotations

import ctypes
import functools
import logging
import math
import os
import subprocess
from pathlib import Path

import torch
from torch import Tensor

from chemscale.models.kernels.building import find_compiler, made_or_loaded, reason_of

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("cpu.cpp")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-shared", "-std=c++17", "-fno-fast-math")

_wanted = True


def use_kernels(wanted: bool) -> None:
    """Whether kernels may stand in for PyTorch's own operations from now on (``trainer.kernels``)."""
    global _wanted
    _wanted = wanted


def kernels_wanted() -> bool:
    """What ``use_kernels`` was told last; true at first."""
    return _wanted


def applies(*tensors: Tensor, dtypes: tuple[torch.dtype, ...] = (torch.float32,)) -> bool:
    """Whether a kernel may take these: on the CPU, and nothing traces or counts operations.

    Compilers, fake tensors and FLOP counters see the plain operations instead.

    Args:
        tensors: what it would be given.
        dtypes: that it takes.
    """
    return (
        _wanted
        and all(t.device.type == "cpu" and t.dtype in dtypes for t in tensors)
        and not torch.compiler.is_compiling()
        and torch._C._len_torch_dispatch_stack() == 0
        and all(type(t) is Tensor or type(t) is torch.nn.Parameter for t in tensors)
    )


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels, compiled where they are not yet; None where that cannot be done, which is logged once."""
    compiler = find_compiler()
    if compiler is None:
        named = os.environ.get("CXX")
        log.warning(
            "No C++ compiler was found%s: attention runs on PyTorch's own products, several times slower for "
            "narrow heads. Install g++, or name a compiler in CXX.",
            f" (CXX={named})" if named else "",
        )
        return None
    try:
        return made_or_loaded(compiler, SOURCE, FLAGS, _declare, _is_right)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("The kernels for CPUs are left out, PyTorch's own operations run: %s", reason_of(error))
        return None


def _declare(kernels: ctypes.CDLL) -> None:
    pointer, long, integer = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
    kernels.document_attention.argtypes = [pointer] * 4 + [long] * 5 + [integer]
    kernels.document_attention.restype = integer
    kernels.step_attention.argtypes = [pointer] * 3 + [long] * 5 + [integer]
    kernels.step_attention.restype = integer
    kernels.gelu.argtypes = [pointer] * 3 + [long, integer]
    kernels.gelu.restype = None


def _is_right(kernels: ctypes.CDLL) -> bool:
    """Whether attention over two tokens, and a GELU, come out as by hand: compilers err."""
    number = ctypes.c_float
    qkv = (number * 6)(0.3, 0.5, 1.0, 2.0, -0.25, 3.0)  # q, k, v of each of two tokens, one head of width 1
    out, offsets = (number * 2)(), (ctypes.c_int32 * 2)(0, 2)
    if kernels.document_attention(qkv, None, out, offsets, 1, 2, 1, 1, 2, 1) != 0:
        return False
    first, second = math.exp(2.0 * 0.5), math.exp(2.0 * -0.25)
    expected = [1.0, (first * 1.0 + second * 3.0) / (first + second)]
    x, y = (number * 2)(-0.7, 1.3), (number * 2)()
    kernels.gelu(x, None, y, 2, 1)
    slope = math.sqrt(2 / math.pi)
    expected += [v / 2 * (1 + math.tanh(slope * (v + 0.044715 * v**3))) for v in x]
    stepped = _step_by_hand(kernels)
    expected += expected[:2]
    return all(math.isclose(a, b, rel_tol=1e-5) for a, b in zip([*out, *y, *stepped], expected, strict=True))


def _step_by_hand(kernels: ctypes.CDLL) -> list[float]:
    """The two tokens of ``_is_right`` one after another, as a generation writes them."""
    number = ctypes.c_float
    block, out = (number * 32)(), (number * 1)()
    blocks = (ctypes.c_void_p * 1)(ctypes.addressof(block))
    found = []
    for position, token in enumerate(((0.3, 0.5, 1.0), (2.0, -0.25, 3.0))):
        qkv = (number * 3)(*token)
        kernels.step_attention(qkv, blocks, out, 1, 1, 1, 0, position, 1)
        found.append(out[0])
    return found
