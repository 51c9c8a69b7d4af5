"""What software a run was made with."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    *("chemscale", "torch", "pytorch-lightning", "deepspeed", "numpy", "scipy", "hydra-core"),
    *("rdkit", "selfies", "tokenizers"),
    *("ase", "e3nn", "tblite", "torch-geometric", "vesin"),
)


def versions() -> dict[str, str]:
    """Version of Python and of every package that can move a number."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """The commit of the checkout that this package runs from, with ``+`` if it has changes; else None.

    Code that a launcher has copied answers with what it was copied from.
    """
    root = Path(__file__).resolve().parents[2]
    pinned = root / "REVISION"  # a snapshot that a launcher took says what it is of
    if pinned.is_file():
        return pinned.read_text().strip() or None
    if not (root / ".git").exists():
        return None
    try:
        run = lambda *a: subprocess.run(  # noqa: E731
            ["git", "-C", str(root), *a], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        return run("rev-parse", "HEAD") + ("+" if run("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
