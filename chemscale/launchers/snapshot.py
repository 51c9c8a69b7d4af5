"""A copy of the package beside the sweep, named by its content: the code that runs is what was submitted."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from chemscale.common.files import atomic_folder
from chemscale.common.paths import PACKAGE
from chemscale.common.versions import git_revision

REVISION = "REVISION"
"""Name of the file that ``chemscale.common.versions.git_revision`` reads."""


def take_snapshot(root: Path) -> Path:
    """Copy the running code to ``<root>/code/<hash>``, or find it there.

    Jobs put the folder first on PYTHONPATH: what is edited after submission does not reach them. Its file
    REVISION holds the git revision (with ``+`` where the checkout has changes), or the package's version. The
    caller holds the lock of the ledger in `root`.

    Args:
        root: the sweep's directory.

    Returns:
        The folder, absolute.
    """
    files = dict(source_files())
    target = (Path(root) / "code" / content_hash(files)).absolute()
    if target.is_dir():
        return target
    with atomic_folder(target) as partial:
        for name, source in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, partial / name)
        (partial / REVISION).write_text(revision() + "\n")
    return target


def source_files() -> Iterator[tuple[str, Path]]:
    """Yield every file of the code with its name in the snapshot."""
    base = PACKAGE.parent
    folders = [PACKAGE]
    if not (PACKAGE / "conf").is_dir():  # a checkout: configuration lies beside the package
        folders += [base / "conf", base / "launch"]
    found = [path for folder in folders for path in sorted(folder.rglob("*"))]
    found += sorted((base / "hydra_plugins").glob("chemscale_*.py"))
    for path in found:
        if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts:
            yield str(path.relative_to(base)), path


def content_hash(files: dict[str, Path]) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of names and contents."""
    digest = hashlib.sha256()
    for name in sorted(files):
        content = files[name].read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def revision() -> str:
    """The git revision of the running code, else the version of the installed package."""
    known = git_revision()
    if known:
        return str(known)
    try:
        return f"chemscale {version('chemscale')}"
    except PackageNotFoundError:
        return "unknown"
