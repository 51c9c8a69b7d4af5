"""Another revision of chemscale beside this one, as a folder of its files."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from chemscale.common.paths import PACKAGE


def check_out(commit: str, folder: Path, root: Path = PACKAGE.parent) -> str:
    """Write the files of a commit into a folder, without touching the checkout; its short hash.

    Args:
        commit: as git names it.
        folder: to write into.
        root: of the checkout.

    Raises:
        ValueError: this is no checkout, or has no such commit.
    """
    named = _git("rev-parse", "--verify", "--short=8", f"{commit}^{{commit}}", root=root)
    if named.returncode:
        raise ValueError(f"--against {commit}: {root} has no such commit ({named.stderr.decode().strip()}).")
    packed = _git("archive", commit, root=root)
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return named.stdout.decode().strip()


def _git(*arguments: str, root: Path) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise ValueError("--against needs git, which is not installed.") from None
