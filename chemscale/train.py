"""Train one point, or a sweep of points and fit its law: ``python -m chemscale.train --help``."""

from __future__ import annotations

from chemscale.cli.train_application import main

__all__ = ["main"]


def __getattr__(name: str) -> object:
    # Ledgers of version 0.1.0 name this function here; `chemscale launch requeue-failed` may continue them.
    if name == "finish_sweep":
        from chemscale.analysis.finish import finish_sweep

        return finish_sweep
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    main()
