"""Data sets of PyTorch Geometric that lie on disk: processed files of its classes, and lists of ``Data``."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.logs import brief
from chemscale.structures.blocks import Block, SourceError, no_forces
from chemscale.structures.sources.base import NOT_STATED, Reader, formula
from chemscale.structures.sources.labels import LabelKeys, Place
from chemscale.structures.units import Units

MAX_FRAMES = 512
"""Frames of a block at most."""

TARGETS = {
    "U0": 7,
    "U": 8,
    "H": 9,
    "G": 10,
    "U0_atom": 12,
    "U_atom": 13,
    "H_atom": 14,
    "G_atom": 15,
}
"""Columns of ``y`` in QM9 that are energies, in eV; those called atom are atomization energies."""

QM9_COLUMNS = 19
ENERGY = ("energy", "y", "E", "U0")
FORCES = ("force", "forces", "F", "neg_dy")


UNREADABLE = (
    *(OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError),
    struct.error,
)
"""What reading a damaged file raises: the pickle machine, whatever its next instruction meets."""


class PyGFile(Reader):
    """Frames of a file that `torch_geometric` wrote, in file order; nothing is downloaded, no code is run.

    The file is what ``InMemoryDataset.save`` leaves in ``processed`` (``MD17``, ``QM9`` and others), or a
    list of ``Data`` that ``torch.save`` wrote. Each ``Data`` has ``z`` and ``pos``, and ``energy`` or ``y``;
    forces are ``force`` or ``forces``, minus the gradient; ``charge`` and ``spin`` (2S+1) are read where they
    are there. A ``y`` of 19 columns is that of QM9, of which U0 is read unless ``data.energy_key``
    names another one of `TARGETS`. Tensors are mapped from the file, not read into memory.

    Args:
        path: the file.
        level: level of theory, for the manifest.
        units: kcal/mol for MD17 and rMD17, by the name of the folder; eV for QM9. To be given for others.
        keys: names of energy and forces in each ``Data``, or of a column of QM9.

    Raises:
        SourceError: no such file, one of another kind, or one whose units are not known.
    """

    def __init__(
        self,
        path: str | Path,
        level: str | None = None,
        units: Units | None = None,
        keys: LabelKeys | None = None,
    ):
        super().__init__(path, level or NOT_STATED, units or Units())
        self.kind = "pyg"
        self.frames = _Frames(self.path)
        given = keys or LabelKeys()
        self.target = self._target(given)
        self.energy = "y" if self.target is not None else self._key("energy", given.energy, ENERGY)
        self.forces = self._key("forces", given.forces, FORCES)
        if not (self.energy or self.forces):
            raise SourceError(
                f"{self.path}: no {' or '.join(ENERGY)} among {', '.join(self.frames.keys)}. Give "
                "data.energy_key."
            )
        self._check_energies(given)
        self._say_which()
        usual = self._usual() if units is None else units
        self.use(usual or Units())
        self._has_units = usual is not None
        name = f"{self.energy or 'nothing'}/{self.forces or 'nothing'} of Data"
        self.places = [Place(name, self.energy, self.forces, "arrays")]

    def blocks(self) -> Iterator[Block]:
        """Every frame, in file order; eV and Å.

        Raises:
            SourceError: a frame without atoms or with arrays that do not fit; the message names it.
        """
        if not self._has_units:
            raise SourceError(
                f"{self.path}: files of PyTorch Geometric state no units, and this is neither MD17 nor QM9 "
                "by its folder or columns. Give data.units.energy."
            )
        held: list[dict[str, np.ndarray]] = []
        start = 0
        for row in range(len(self.frames)):
            frame = self._frame(row)
            if held and (len(held) == MAX_FRAMES or not np.array_equal(held[0]["z"], frame["z"])):
                yield self._join(held, start)
                held, start = [], row
            held.append(frame)
        if held:
            yield self._join(held, start)

    def total(self) -> int | None:
        """Frames of the file."""
        return len(self.frames)

    def _frame(self, row: int) -> dict[str, np.ndarray]:
        frame = self.frames.read(row, ("z", "pos", self.energy, self.forces, "charge", "spin"))
        atoms = len(frame["z"])
        wanted = {"z": (atoms,), "pos": (atoms, 3)} | (
            {self.forces: (atoms, 3)} if self.forces in frame else {}
        )
        for key, shape in wanted.items():
            if frame[key].shape != shape:
                raise SourceError(
                    f"{self.path}, frame {row}: {key} has shape {frame[key].shape}, not {shape}."
                )
        energy = frame.get(self.energy or "", np.array(np.nan)).reshape(-1)
        column = self.target or 0
        if len(energy) != (1 if self.target is None else QM9_COLUMNS):
            raise SourceError(
                f"{self.path}, frame {row}: {self.energy} has {len(energy)} numbers, not one energy of the "
                "frame. Give data.energy_key."
            )
        frame["energy of the frame"] = energy[column]
        return frame

    def _join(self, frames: list[dict[str, np.ndarray]], start: int) -> Block:
        units = self.conversion
        positions = np.stack([frame["pos"] for frame in frames]).astype(np.float64) * units.to_angstrom
        forces = no_forces(positions)
        for i, frame in enumerate(frames):
            if self.forces in frame:
                forces[i] = frame[self.forces].astype(np.float64) * units.to_ev_per_angstrom
        numbers = frames[0]["z"]
        return self.block(
            name=formula(numbers) if len(numbers) else "nothing",
            numbers=numbers,
            positions=positions,
            energies=np.array([float(f["energy of the frame"]) for f in frames]) * units.to_ev,
            forces=forces,
            rows=start + np.arange(len(frames)),
            charges=[self._single(frame, "charge") for frame in frames],
            spins=[self._single(frame, "spin") for frame in frames],
        )

    def _single(self, frame: Mapping[str, np.ndarray], key: str) -> Any:
        value = frame.get(key, np.zeros(1)).reshape(-1)
        if len(value) != 1:
            self.note(f"{key} holds {len(value)} numbers a frame and was not read.")
            return 0
        return value[0]

    def _target(self, given: LabelKeys) -> int | None:
        """Column of ``y`` that is the energy, of QM9; None of other data."""
        columns = self.frames[0]["y"].size if "y" in self.frames.keys else 0
        if columns != QM9_COLUMNS:
            return None
        name = given.energy or "U0"
        if name not in TARGETS:
            if name in self.frames.keys:
                return None
            raise SourceError(
                f"{self.path}: data.energy_key={name}: of QM9 choose one of {', '.join(TARGETS)}."
            )
        return TARGETS[name]

    def _key(self, kind: str, given: str | None, usual: Sequence[str]) -> str | None:
        keys = self.frames.keys
        if given and given not in keys:
            raise SourceError(f"{self.path}: data.{kind}_key={given}: no Data has it, but {', '.join(keys)}.")
        return given or next((name for name in usual if name in keys), None)

    def _usual(self) -> Units | None:
        """Units and level of the data sets that are known; None of others."""
        if self.target is not None:
            self.level = "B3LYP/6-31G(2df,p)" if self.level == NOT_STATED else self.level
            return Units()
        name = _md17(self.path)
        if name and "revised" in name and self.level == NOT_STATED:
            self.level = "PBE/def2-SVP"
        return Units("kcal/mol") if name else None

    def _check_energies(self, given: LabelKeys) -> None:
        """Refuse two energies of usual names that differ, unless one is chosen."""
        first = {key: value for key, value in self.frames[0].items() if key in ENERGY and value.size == 1}
        if (
            given.energy
            or len(first) < 2
            or np.allclose([*map(float, first.values())], float(min(first.values())))
        ):
            return
        raise SourceError(
            f"{self.path}: {' and '.join(first)} hold different numbers: choose by data.energy_key."
        )

    def _say_which(self) -> None:
        if self.target is not None:
            name = next(key for key, column in TARGETS.items() if column == self.target)
            self.note(f"Energies: y[{self.target}], {name} of QM9.")
            if name.endswith("_atom"):
                self.note(f"{name} is without the energies of the atoms: data.references=none goes with it.")
        if not self.forces:
            self.note("The file has energies only: forces are NaN.")
        elif self.energy is None:
            self.note("The file has forces only: energies are NaN.")
        first = self.frames[0]
        if self.energy and first[self.energy].dtype == np.float32:
            size = float(np.abs(first[self.energy].reshape(-1)[self.target or 0]))
            self.note(f"Energies are float32, rounded to {np.spacing(np.float32(size)):.1g} of their unit.")


class _Frames:
    """The ``Data`` of a file, one at a time as arrays.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self.path = path
        loaded = _load(path)
        self._list: list[Mapping[str, Any]] | None = None
        if isinstance(loaded, list):
            self._list = [_mapping(each, path) for each in loaded]
            self._length = len(self._list)
        else:
            self._store, self._slices = _mapping(loaded[0], path), loaded[1]
            self._length = 1 if self._slices is None else len(next(iter(self._slices.values()))) - 1
        if not self._length:
            raise SourceError(f"{path}: there is no frame in it.")
        self.keys = list(self[0])
        missing = [key for key in ("z", "pos") if key not in self.keys]
        if missing:
            raise SourceError(
                f"{path}: no {' and no '.join(missing)} in its Data, but {', '.join(self.keys)}."
            )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        """Tensors and numbers of a frame as arrays."""
        return self.read(row)

    def read(self, row: int, keys: Collection[str | None] | None = None) -> dict[str, np.ndarray]:
        """The same of some keys.

        Args:
            row: of the frame.
            keys: all if None.
        """
        import torch  # not where no file of PyG is read

        stored = self._list[row] if self._list is not None else self._store
        found = {}
        for key, value in stored.items():
            if keys is not None and key not in keys:
                continue
            if self._list is None and self._slices is not None:
                if key not in self._slices:
                    continue
                begin, end = int(self._slices[key][row]), int(self._slices[key][row + 1])
                value = value[..., begin:end] if "index" in key else value[begin:end]
            if isinstance(value, torch.Tensor):
                found[key] = value.detach().cpu().numpy()
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                found[key] = np.array(value)
        return found


def processed_file(folder: Path) -> Path:
    """The file of a data set of PyTorch Geometric, of which nothing is downloaded or made.

    Args:
        folder: ``root`` of the data set, or the folder of one molecule in it.

    Raises:
        SourceError: there is no processed file, or more than one.
    """
    found = sorted(
        file
        for file in folder.glob("**/processed/*.pt")
        if file.name not in ("pre_filter.pt", "pre_transform.pt")
    )
    if not found:
        there = ", ".join(sorted(each.name for each in folder.iterdir())) or "nothing"
        raise SourceError(
            f"data.path={folder}: no processed file of PyTorch Geometric, but {there}. Nothing is downloaded "
            "here: build the data set once, as in torch_geometric.datasets.MD17(root, name)."
        )
    if len(found) > 1:
        listed = ", ".join(str(file.relative_to(folder)) for file in found[:12])
        raise SourceError(f"data.path={folder}: several processed files ({listed}): name one of them.")
    return found[0]


def _md17(path: Path) -> str | None:
    """Name of a molecule of MD17 if the folders of a processed file are called as its class calls them."""
    from torch_geometric.datasets import MD17

    name = path.resolve().parent.parent.name
    return name if path.resolve().parent.name == "processed" and name in MD17.file_names else None


def _load(path: Path) -> Any:
    """What a file holds: (data, slices[, class]) or a list; code in it is refused, not run."""
    import torch
    from torch_geometric.data import Data
    from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
    from torch_geometric.data.storage import BaseStorage, EdgeStorage, GlobalStorage, NodeStorage

    safe = [Data, DataEdgeAttr, DataTensorAttr, BaseStorage, EdgeStorage, GlobalStorage, NodeStorage]
    try:
        with torch.serialization.safe_globals(safe), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # of the format before torch 1.6, which cannot be mapped
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SourceError(
            f"{path}: holds more than tensors and torch_geometric's Data, or is no file of torch.save "
            f"({str(error).splitlines()[0]}). Objects of other classes are not unpickled: save a list of "
            "Data."
        ) from None
    except UNREADABLE as error:
        raise SourceError(f"{path}: not a readable file of torch.save ({brief(error)}).") from None
    if isinstance(loaded, Data):
        return [loaded]
    if (
        isinstance(loaded, (list, tuple))
        and loaded
        and all(isinstance(each, (Data, dict)) for each in loaded)
    ):
        return list(loaded)
    if isinstance(loaded, tuple) and len(loaded) in (2, 3) and isinstance(loaded[1], (dict, type(None))):
        return loaded
    raise SourceError(f"{path}: neither a data set of PyTorch Geometric nor a list of Data.")


def _mapping(data: Any, path: Path) -> Mapping[str, Any]:
    try:
        stored = data if isinstance(data, dict) else getattr(data, "to_dict", lambda: None)()
    except (RuntimeError, AttributeError, LookupError, TypeError) as error:
        raise SourceError(f"{path}: damaged, or of another version ({brief(error)}).") from None
    if not isinstance(stored, dict) or any(isinstance(value, dict) for value in stored.values()):
        raise SourceError(f"{path}: holds {type(data).__name__}, not Data with z and pos.")
    return stored
