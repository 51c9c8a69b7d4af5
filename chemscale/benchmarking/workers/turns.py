"""What a timed process and the one that times it say to each other: a line of JSON each way.

A worker is a script that some interpreter runs by its path; it may not have chemscale. It makes ready,
warms up and says ``{"ready": facts}``. Each request ``{"seconds": s, "steps": n}`` is answered, after at
least so much of both, by ``{"seconds": …, "steps": …, "amount": …}``; ``{"stop": true}`` by its peak memory,
and it ends. What else it prints goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import flop_registry

MIB = 2**20


class Memory:
    """Memory of this process, or what torch allocated of a GPU.

    Args:
        device: cpu or cuda.
    """

    def __init__(self, device: str):
        self.cuda = device != "cpu"
        self.before = 0.0

    def begin(self) -> None:
        """Forget the peak so far; what is in use now is not of a step."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated() / MIB
            return
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        self.before = _status("VmRSS")

    def peak(self) -> dict[str, float]:
        """``peak_mib`` since ``begin``, and ``step_mib``, how much of it steps have added."""
        peak = torch.cuda.max_memory_allocated() / MIB if self.cuda else _status("VmHWM")
        return {"peak_mib": peak, "step_mib": max(0.0, peak - self.before)}


def _status(key: str) -> float:
    """A line of /proc/self/status in MiB; elsewhere the peak that the system counts."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith(key + ":"))
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


class Counting(TorchDispatchMode):
    """Count FLOPs of matrix products, and bytes that all operations read and write: a view moves nothing.

    torch's own counter follows modules by hooks, which forces by autograd do not bear.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **kwargs, out_val=result)
        if not any(r.alias_info and not r.alias_info.is_write for r in func._schema.returns):
            tensors = tree_flatten((args, kwargs, result))[0]
            self.bytes += sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))
        return result

    def per_unit(self, amount: float) -> dict[str, float]:
        """``flops`` and ``bytes`` of one unit of work.

        Args:
            amount: that was counted over.
        """
        return {"flops": self.flops / amount, "bytes": self.bytes / amount}


class Turns:
    """The worker's end of the conversation.

    Args:
        device: cpu or cuda.
        warmup: steps before it is ready.
    """

    def __init__(self, device: str, warmup: int):
        self.device, self.warmup = device, warmup
        self.memory = Memory(device)
        self.born = time.perf_counter()
        # Libraries print: the conversation keeps the pipe for itself.
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._left = (0.0, 0)
        self._started, self._steps, self._amount = 0.0, 0, 0.0

    def now(self) -> float:
        """The time when all work that was begun is done."""
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    def ready(self, facts: dict[str, Any]) -> None:
        """Say that warming up is done, and wait for the first turn.

        Args:
            facts: of the model, for the report.
        """
        self._say({"ready": {**facts, "torch": torch.__version__, "start_seconds": self.now() - self.born}})
        self._wait()

    def stepped(self, amount: float) -> None:
        """A step is done; answers and waits where that completes a turn, and ends the process where told.

        Args:
            amount: molecules, symbols or atoms of the step.
        """
        self._steps += 1
        self._amount += amount
        seconds, steps = self._left
        if self._steps < steps or time.perf_counter() - self._started < seconds:
            return
        elapsed = self.now() - self._started
        self._say({"seconds": elapsed, "steps": self._steps, "amount": self._amount})
        self._wait()

    def _wait(self) -> None:
        line = sys.stdin.readline()
        request = json.loads(line) if line else {"stop": True}
        if request.get("stop"):
            if line:
                self._say(self.memory.peak())
            self._out.flush()
            os._exit(0)  # a training run would validate and save first
        self._left = (float(request["seconds"]), int(request["steps"]))
        self._steps, self._amount = 0, 0.0
        self._started = self.now()

    def _say(self, content: dict[str, Any]) -> None:
        self._out.write(json.dumps(content) + "\n")


def serve(turns: Turns, step: Callable[[], float], facts: dict[str, Any], *, count: bool = True) -> None:
    """Warm up, then do steps in turns until told to stop.

    Args:
        turns: the conversation.
        step: does one step and returns the amount of work in it.
        facts: of the model, for the report.
        count: whether FLOPs and bytes of a step can be counted: not of compiled code.
    """
    turns.memory.begin()
    began = turns.now()
    step()
    facts = {**facts, "first_step_seconds": turns.now() - began}
    for _ in range(turns.warmup - 1):
        step()
    if count:
        with Counting() as counted:
            amount = step()
        facts |= counted.per_unit(amount)
    turns.ready(facts)
    while True:
        turns.stepped(step())


def arguments(description: str) -> argparse.Namespace:
    """What every worker is told.

    Args:
        description: of the worker.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", required=True, help="what is to be done, as JSON")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=3)
    options = parser.parse_args()
    options.work = json.loads(options.work)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    return options
