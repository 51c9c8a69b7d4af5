"""Where configuration and site profiles lie: in a checkout, in an installed wheel, and the user's own."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""The installed package, or the one of a checkout."""


CONFIG_DIRECTORY = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""Beside the package in a checkout, inside it in an installed wheel."""


def user_folder() -> Path:
    """``$CHEMSCALE_CONFIG``, else ``~/.config/chemscale``; profiles lie in its ``site/``."""
    named = os.environ.get("CHEMSCALE_CONFIG")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "chemscale"


def cache_folder() -> Path:
    """``$CHEMSCALE_CACHE``, else ``~/.cache/chemscale``: what this machine can make again."""
    named = os.environ.get("CHEMSCALE_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chemscale"


def own_folder() -> Path:
    """``launch/`` beside the package in a checkout, ``chemscale/sites/`` in an installed wheel."""
    installed = PACKAGE / "sites"
    return installed if installed.is_dir() else PACKAGE.parent / "launch"


def site_folders() -> list[Path]:
    """Folders that hold a ``site/``, the one that wins first."""
    return [folder for folder in (user_folder(), own_folder()) if (folder / "site").is_dir()]
