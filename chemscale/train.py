"""Train one point, or a sweep of points and fit its law: ``python -m chemscale.train --help``."""

from __future__ import annotations

from chemscale.analysis.finish import finish_sweep
from chemscale.cli.train_application import main

# Ledgers of version 0.1.0 name `finish_sweep` here; `chemscale launch requeue-failed` may continue them.
__all__ = ["finish_sweep", "main"]

if __name__ == "__main__":
    main()
