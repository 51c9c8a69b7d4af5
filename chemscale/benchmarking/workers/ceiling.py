"""The ceilings of this machine now, in turns: a matrix product, or a copy of memory."""

from __future__ import annotations

import torch
from turns import Turns, arguments, serve

TYPES = {"32": torch.float32, "tf32": torch.float32, "bf16-mixed": torch.bfloat16}


def main() -> None:
    options = arguments(__doc__ or "")
    work, device = options.work, options.device
    turns = Turns(device, options.warmup)
    on_gpu = device != "cpu"
    if work["kind"] == "product":
        torch.set_float32_matmul_precision("high" if work["precision"] == "tf32" else "highest")
        size = 8192 if on_gpu else 1024
        a = torch.randn(size, size, dtype=TYPES[work["precision"]], device=device)
        b, out = torch.randn_like(a), torch.empty_like(a)

        def step() -> float:
            torch.mm(a, b, out=out)
            return 2.0 * size**3

    else:
        source = torch.ones((1 << 30) // 4 if on_gpu else (1 << 27) // 4, device=device)
        target = torch.empty_like(source)

        def step() -> float:
            target.copy_(source)
            return 2.0 * source.numel() * 4

    serve(turns, step, {}, count=False)


if __name__ == "__main__":
    main()
