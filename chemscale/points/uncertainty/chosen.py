"""Which training frames of a store may be learned from (``data.selection``): a file, known by its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chemscale.common.files import write_json
from chemscale.common.sections import ConfigurationError
from chemscale.structures.settings import StructureData

if TYPE_CHECKING:
    from chemscale.structures.store import FrameStore

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ChosenFrames:
    """Training frames of a store in the order of choice.

    Args:
        store: hash of the store.
        positions: in its training part.
        about: how they were chosen; it is not hashed.
    """

    store: str
    positions: tuple[int, ...]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Hash of the store and of the positions."""
        return hashlib.sha256(json.dumps([self.store, list(self.positions)]).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"store": self.store, "positions": list(self.positions), "about": self.about}
        write_json(path, {"schema_version": SCHEMA_VERSION, **content})

    @classmethod
    def load(cls, path: Path) -> ChosenFrames:
        """Read such a file.

        Raises:
            ConfigurationError: it is not there, or is none.
        """
        try:
            raw = json.loads(Path(path).read_text())
            if raw["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema version {raw['schema_version']!r}, expected {SCHEMA_VERSION}")
            positions = tuple(int(n) for n in raw["positions"])
            found = cls(str(raw["store"]), positions, dict(raw["about"]))
        except OSError as error:
            raise ConfigurationError(
                f"data.selection={path}: cannot be read ({error.strerror}). It lists the training frames of "
                "a run; the command that made it (+sweep=active_learning) makes it again."
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"data.selection={path}: is no list of training frames ({error}). Those are written by "
                "+sweep=active_learning; a file of structures is data=structures data.path=FILE."
            ) from None
        if not positions or len(set(positions)) < len(positions) or min(positions) < 0:
            raise ConfigurationError(f"data.selection={path}: no position, one twice, or one below 0.")
        return found


def stated_selection(data: Mapping[str, Any]) -> dict[str, Any]:
    """The section ``data`` with the hash of its selection as ``selected``, which stands in the identity.

    Args:
        data: of a resolved configuration.

    Raises:
        ConfigurationError: the file is not there, or lists other frames than when the run was planned.
    """
    stated = dict(data)
    path, earlier = stated.get("selection"), stated.get("selected")
    if path is None:
        if earlier is not None:
            raise ConfigurationError("data.selected is set by the file of data.selection: name that.")
        return stated
    found = ChosenFrames.load(Path(path).expanduser()).sha256
    if earlier not in (None, found):
        raise ConfigurationError(
            f"data.selection={path}: it lists other frames than when this run was planned. Put the file back."
        )
    stated["selected"] = found
    return stated


def selected_positions(store: FrameStore, data: StructureData) -> np.ndarray | None:
    """Positions in the training part that ``data.selection`` lists; None without one.

    Args:
        store: of the section.
        data: the section.

    Raises:
        ConfigurationError: the list is of another store, or is longer than the part.
    """
    if data.selection is None:
        return None
    found = ChosenFrames.load(Path(data.selection).expanduser())
    count = len(store.part("train"))
    if found.store != store.hash or max(found.positions) >= count:
        raise ConfigurationError(
            f"data.selection={data.selection}: it lists frames of another store than {store.path}. Choose "
            "again from the data of this run."
        )
    return np.array(found.positions, np.int64)
