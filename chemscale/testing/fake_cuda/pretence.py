"""What Python asks of CUDA, answered for one H100: torch's functions, the choice of an attention kernel."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import _disable_current_modes

from chemscale.molecules import batches as packed
from chemscale.structures import batches as frames

aten = torch.ops.aten

NAME = "NVIDIA H100 80GB HBM3"
CAPABILITY = (9, 0)
PROPERTIES = SimpleNamespace(
    name=NAME, major=9, minor=0, total_memory=79 * 2**30, multi_processor_count=132, uuid="fake", warp_size=32
)


class FakeDeviceMode(FakeTensorMode):
    """Fake tensors in a torch whose device only seems to be there."""

    avoid_device_init = True  # else it takes the pretence for a device to compute on


class Event:
    """A CUDA event that is always over."""

    def __init__(self, *arguments: Any, **options: Any):
        pass

    def record(self, stream: Any = None) -> None:
        """Nothing to record."""

    def wait(self, stream: Any = None) -> None:
        """Nothing to wait for."""

    def query(self) -> bool:
        """It is over."""
        return True

    def synchronize(self) -> None:
        """An event that was recorded a step ago is over: waiting for it costs nothing."""


class Stream(Event):
    """A CUDA stream in which nothing runs."""

    device_index, stream_id, device_type = 0, 0, 1

    def wait_stream(self, stream: Any) -> None:
        """Nothing to wait for."""

    wait_event = wait_stream

    def record_event(self, event: Any = None) -> Event:
        """An event that is over."""
        return event or Event()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *failure: object) -> None:
        pass


def answers(on_synchronize: Callable[[str], None]) -> dict[str, Any]:
    """Functions of ``torch.cuda`` by their names.

    Args:
        on_synchronize: called where the host waits for the device.
    """
    stream = Stream()

    def nothing(*arguments: Any, **options: Any) -> None:
        return None

    def zero(*arguments: Any, **options: Any) -> int:
        return 0

    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda *a, **k: True,
        "is_current_stream_capturing": lambda: False,
        "device_count": lambda: 1,
        "current_device": zero,
        "set_device": nothing,
        "init": nothing,
        "_lazy_init": nothing,
        "get_device_name": lambda *a: NAME,
        "get_device_properties": lambda *a: PROPERTIES,
        "get_device_capability": lambda *a: CAPABILITY,
        "current_stream": lambda *a: stream,
        "default_stream": lambda *a: stream,
        "stream": lambda *a: contextlib.nullcontext(),
        "Stream": Stream,
        "Event": Event,
        "synchronize": lambda *a: on_synchronize("torch.cuda.synchronize"),
        "empty_cache": nothing,
        "reset_peak_memory_stats": nothing,
        "max_memory_allocated": zero,
        "memory_allocated": zero,
        "mem_get_info": lambda *a: (79 * 2**30, 79 * 2**30),
        "manual_seed": nothing,
        "manual_seed_all": nothing,
        "get_rng_state": lambda *a: torch.zeros(16, dtype=torch.uint8),
        "get_rng_state_all": list,
        "set_rng_state": nothing,
        "set_rng_state_all": nothing,
    }


@contextlib.contextmanager
def cuda_is_there(on_synchronize: Callable[[str], None]) -> Iterator[None]:
    """Answer as a machine with one H100 would.

    Args:
        on_synchronize: called where the host waits for the device.
    """
    with contextlib.ExitStack() as stack:
        for name, answer in answers(on_synchronize).items():
            if hasattr(torch.cuda, name):
                stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        # Else clipping takes the tensors one by one, as it does for types of tensors that it does not know.
        types = [*_foreach_utils._foreach_supported_types, FakeTensor]
        stack.enter_context(mock.patch.object(_foreach_utils, "_foreach_supported_types", types))
        # Batches are real on the host: lengths and orders are read there.
        for module, make in ((packed, "packed_batch"), (frames, "batch_of")):
            made = without_modes(getattr(module, make))
            stack.enter_context(mock.patch.object(module, make, made))
        stack.enter_context(mock.patch.object(Tensor, "numpy", without_modes(Tensor.numpy)))
        real = F.scaled_dot_product_attention
        stack.enter_context(mock.patch.object(F, "scaled_dot_product_attention", attention_like(real)))
        yield


def without_modes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with real tensors, whatever modes are entered.

    Args:
        function: is called.
    """

    def call(*arguments: Any, **options: Any) -> Any:
        with _disable_current_modes():
            return function(*arguments, **options)

    return call


def attention_like(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``F.scaled_dot_product_attention`` as CUDA would run it; a CPU build has no chooser for CUDA.

    Args:
        real: for tensors on the CPU.
    """

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if query.device.type != "cuda":
            options = {"scale": scale, "enable_gqa": enable_gqa}
            return real(query, key, value, attn_mask, dropout_p, is_causal, **options)
        if torch.is_autocast_enabled("cuda"):
            lower = torch.get_autocast_dtype("cuda")
            query, key, value = (x.to(lower) for x in (query, key, value))
        kind = kernel_of(query, attn_mask)
        if kind == "flash":
            return _flash(query, key, value, is_causal, scale)
        if kind == "efficient":
            bias = None if attn_mask is None else _bias(attn_mask, query)
            found = aten._scaled_dot_product_efficient_attention(
                query, key, value, bias, query.requires_grad, 0.0, is_causal, scale=scale
            )
            return found[0]
        return _products(query, key, value, attn_mask, is_causal, scale)

    return attention


def kernel_of(query: Tensor, mask: Tensor | None) -> str:
    """The kernel that torch 2.13 takes on an H100 with cuDNN's attention off (``sdp_utils.cpp``).

    Flash for half precision without a mask, in any head width up to 256; the memory-efficient one where rows
    of a head are aligned to 16 bytes; products and a softmax otherwise.

    Args:
        query: (…, K).
        mask: of attention, if there is one.
    """
    width = query.shape[-1]
    half = query.dtype in (torch.float16, torch.bfloat16)
    if half and mask is None and width <= 256 and torch.backends.cuda.flash_sdp_enabled():
        return "flash"
    if width % (8 if half else 4) == 0 and torch.backends.cuda.mem_efficient_sdp_enabled():
        return "efficient"
    return "math"


def _flash(query: Tensor, key: Tensor, value: Tensor, is_causal: bool, scale: float | None) -> Tensor:
    """Flash attention takes head widths that are multiples of 8: narrower ones are padded and cut."""
    width = query.shape[-1]
    if missing := -width % 8:
        query, key, value = (F.pad(x, (0, missing)) for x in (query, key, value))
    out = aten._scaled_dot_product_flash_attention(query, key, value, 0.0, is_causal, False, scale=scale)[0]
    return out[..., :width] if missing else out


def _bias(mask: Tensor, query: Tensor) -> Tensor:
    """A mask as what is added to the scores, of their dtype and shape."""
    bias = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, -torch.inf)
    return bias.expand(*query.shape[:-2], *mask.shape[-2:])


def _products(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, scale: float | None
) -> Tensor:
    """Attention as products and a softmax in float32, the fall-back."""
    dtype = query.dtype
    root = math.sqrt(scale if scale is not None else 1 / math.sqrt(query.shape[-1]))
    query, key, value = (x.float() for x in (query, key, value))
    if is_causal:
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    scores = (query * root) @ (key * root).transpose(-2, -1)
    if mask is not None:
        scores = scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -torch.inf)
    return (scores.softmax(-1) @ value).to(dtype)
