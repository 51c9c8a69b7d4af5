"""An exported package of a potential, run from Python as C++ runs it: no weights, no network, one graph.

A package holds machine code: to open one is to run it. Weights of others are safetensors, never a package.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from chemscale.models.potential import Potential, Prediction
from chemscale.models.potentials import INPUTS, PACKAGE_FORMAT, PotentialError

Graph = Callable[..., Sequence[Tensor]]
"""From `INPUTS` of one structure to `OUTPUTS`."""


class GraphPotential(Potential):
    """A potential of which only the graph is there: it predicts, and can do nothing else.

    Structures of a batch are computed one after another.

    Args:
        graph: of one structure.
        facts: of it, as ``training.compilation.standalone.metadata_of`` writes them.
    """

    _graph: Graph

    def __init__(self, graph: Graph, facts: Mapping[str, str]):
        elements = tuple(int(z) for z in facts["elements"].split())
        config = SimpleNamespace(
            cutoff=float(facts["cutoff"]),
            molecules_only=facts["molecules_only"] == "1",
            knows_charge=facts["knows_charge"] == "1",
        )
        super().__init__(_Package(config), elements, (0.0,) * len(elements))
        self.facts = facts
        # No part of this module: that of an exported program knows no evaluation mode.
        object.__setattr__(self, "_graph", graph)
        self.header = {"model": {"family": facts["family"]}}
        stated = {key: json.loads(facts.get(key, "null")) for key in ("electrons", "subtract")}
        if known := {key: value for key, value in stated.items() if value is not None}:
            self.header["data"] = known
        self.eval()

    @property
    def dtype(self) -> torch.dtype:
        """The precision that the network was compiled in."""
        found = getattr(torch, self.facts["dtype"])
        assert isinstance(found, torch.dtype)
        return found

    def forward(
        self, data: Data, *, forces: bool = True, stress: bool = False, create_graph: bool | None = None
    ) -> Prediction:
        """Predict as ``Potential.forward`` does.

        Args:
            data: a batch, as it takes it.
            forces: whether forces are wanted.
            stress: whether the stress of crystals is wanted.
            create_graph: whether forces are to be differentiated again, which a package cannot.

        Raises:
            PotentialError: forces were to be differentiated.
            BoundaryError: a crystal, where there are interactions of molecules alone.
            ValueError: stress of a structure without a cell.
        """
        if create_graph:
            raise PotentialError("A package cannot be trained: its forces have no derivative.")
        self._check_boundary(data)
        if stress and data.get("cell") is None:
            raise ValueError("Stress needs a cell: this structure is a molecule.")
        device = torch.device(self.facts["device"])
        found = [self._graph(*(x.to(device) for x in inputs)) for inputs in _structures(data)]
        energy, energies, of_atoms, _, of_cells = zip(*found, strict=True)
        place = data.pos.device
        return Prediction(
            torch.cat(energy).to(place),
            torch.cat(energies).to(place),
            torch.cat(of_atoms).to(place) if forces else None,
            torch.stack(of_cells).to(place) if stress else None,
        )


class PackagedPotential(GraphPotential):
    """A potential that ``python -m chemscale.export RUN --to FOLDER --as aoti`` compiled.

    Args:
        path: of the package, ``FOLDER/model.pt2``.

    Raises:
        PotentialError: no package of a potential, one for a device that is not here, or for another PyTorch.
    """

    def __init__(self, path: str | Path):
        super().__init__(*_load(Path(path)))


class _Package(nn.Module):
    """In the place of a network: what is known of it."""

    def __init__(self, config: SimpleNamespace):
        super().__init__()
        self.config = config


def _load(path: Path) -> tuple[Graph, Mapping[str, str]]:
    """The graph of a package, and its metadata.

    Raises:
        PotentialError: as ``PackagedPotential``.
    """
    if not path.is_file():
        raise PotentialError(f"{path}: no such file. chemscale.export RUN --to FOLDER --as aoti writes one.")
    try:
        loader: Any = torch._C._aoti.AOTIModelPackageLoader
        facts = loader.load_metadata_from_package(str(path), "model")
    except (RuntimeError, AttributeError) as error:
        raise PotentialError(f"{path}: no package of AOTInductor ({_line(error)}).") from None
    if facts.get("format") != PACKAGE_FORMAT:
        raise PotentialError(f"{path}: format {facts.get('format')!r}, expected {PACKAGE_FORMAT!r}.")
    if facts["device"] == "cuda" and not torch.cuda.is_available():
        raise PotentialError(f"{path}: compiled for a GPU, and torch sees none here. Export it for the CPU.")
    try:
        return torch._inductor.aoti_load_package(str(path)), facts
    except (RuntimeError, OSError) as error:
        raise PotentialError(
            f"{path}: it was compiled with torch {facts['torch']} and does not load into torch "
            f"{torch.__version__} here ({_line(error)}). Export the run again on this machine."
        ) from None


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _structures(data: Data) -> Iterator[list[Tensor]]:
    """What the graph takes of each structure of a batch."""
    receivers, cell = data.edge_index[1].contiguous(), data.get("cell")
    firsts = data.ptr.tolist()
    edges = torch.searchsorted(receivers, data.ptr.to(receivers.dtype)).tolist()
    for number, (start, end) in enumerate(pairwise(firsts)):
        mine = slice(edges[number], edges[number + 1])
        ends = data.edge_index[:, mine] - start
        count = ends.shape[1]
        given = {
            "numbers": data.z[start:end],
            "positions": data.pos[start:end].double(),
            "cell": ends.new_zeros(3, 3, dtype=torch.float64) if cell is None else cell[number].double(),
            "senders": ends[0],
            "receivers": ends[1],
            "shifts": ends.new_zeros(count, 3) if cell is None else data.edge_shift[mine].long(),
            "charge": data.charge[number : number + 1].long(),
            "spin": data.spin[number : number + 1].long(),
        }
        yield [given[name].contiguous() for name in INPUTS]
