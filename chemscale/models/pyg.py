"""Any PyTorch Geometric module as a potential: it is given our edges, or positions to find its own."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn.models.visnet import Distance

from chemscale.common.plugins import load_plugins
from chemscale.common.sections import ConfigurationError, Count, Positive
from chemscale.models.atom_graph import AtomGraph, Connectivity, slots_of


@dataclass(frozen=True)
class PyGConfig:
    """Which module is built, with which arguments, and whose edges it uses.

    Args:
        module: dotted name of a class of modules, or of a function that returns one in a module that
            ``CHEMSCALE_PLUGINS`` or an entry point names.
        arguments: of the module by name, where they are neither width, layers nor cutoff (`SHAPE`).
        edges: ``ours``, with periodic images; ``own``: the module finds them by positions, of molecules.
        width: features of an atom.
        layers: of the module.
        cutoff: Å within which atoms are neighbours.
    """

    family: ClassVar[str] = "pyg"
    module: str = "torch_geometric.nn.models.SchNet"
    arguments: dict[str, Any] | None = None
    edges: Literal["ours", "own"] = "ours"
    width: Count = 64
    layers: Count = 3
    cutoff: Positive = 5.0

    @property
    def molecules_only(self) -> bool:
        """Whether the module is given positions, which a periodic cell makes wrong."""
        return self.edges == "own"

    def network(self, elements: tuple[int, ...], neighbours: float) -> PyGNetwork:
        """The module with fresh weights behind the adapter.

        Args:
            elements: atomic numbers that it has to know.
            neighbours: mean number of neighbours of an atom; not used.

        Raises:
            ConfigurationError: no such module, or one that cannot be built or used; it names the key.
        """
        return PyGNetwork(self, elements)


class PyGNetwork(nn.Module):
    """A module of ``z``, ``pos``, ``batch``, edges or a ``Data`` as a network of an `AtomGraph`.

    The module's ``forward`` is given what its parameters are called (`ARGUMENTS`). It returns an energy for
    each atom, or one for each structure, which is then divided evenly among its atoms; of several outputs the
    first counts. With ``edges=ours`` it has to read geometry from edges alone: from parameters such as
    ``edge_vec``, or through an ``interaction_graph`` (SchNet) or a ``Distance`` (ViSNet), which are replaced;
    positions are NaN, so that one that reads them otherwise is found out when it is built. With
    ``edges=own`` positions are relative to the first atom of each structure.

    Args:
        config: which module.
        elements: atomic numbers that it has to know.
    """

    def __init__(self, config: PyGConfig, elements: tuple[int, ...]):
        super().__init__()
        self.config = config
        self.graph = GraphInHand()
        self.module = _built(config, self.graph)
        self._parameters_of_forward = _parameters(self.module, config)
        self._try(elements)

    @property
    def layers(self) -> nn.Module:
        """The longest list of layers in the module; the module itself where there is none."""
        lists = [part for part in self.module.modules() if isinstance(part, nn.ModuleList)]
        return max(lists, key=len, default=self.module)

    def forward(self, graph: AtomGraph) -> Tensor:
        """Energies of atoms in units of the potential's scale, (N,)."""
        self.graph.current = graph
        try:
            output = self.module(**{name: ARGUMENTS[name](graph) for name in self._parameters_of_forward})
        finally:
            self.graph.current = None
        output = output[0] if isinstance(output, tuple) else output
        return self._of_atoms(output.reshape(output.shape[0], -1), graph)

    def _of_atoms(self, output: Tensor, graph: AtomGraph) -> Tensor:
        if output.shape[1] != 1 or output.shape[0] not in (graph.atoms, graph.structures):
            raise self._refused(
                f"returns {tuple(output.shape)} for {graph.atoms} atoms of {graph.structures} structures; "
                "one energy for each atom, or for each structure, is wanted."
            )
        if output.shape[0] == graph.atoms:
            return output[:, 0]
        sizes = (graph.ptr[1:] - graph.ptr[:-1]).to(output.dtype)
        return graph.to_atoms(output[:, 0] / sizes)

    def _refused(self, reason: str) -> ConfigurationError:
        return ConfigurationError(f"model.module={self.config.module}: {reason}")

    def _try(self, elements: tuple[int, ...]) -> None:
        """Refuse a module that cannot be called, or reads positions where there are edges."""
        weight = next(self.module.parameters(), None)
        if weight is None:
            raise self._refused("has no parameters to train.")
        training = self.module.training
        self.module.eval()
        try:
            output = self(_example(elements, self.config, weight.dtype))
        except ConfigurationError:
            raise
        except ImportError as error:
            raise self._refused(
                f"{error}: it finds neighbours itself, with a package that is not installed. Install it, or "
                "give a module that takes edges."
            ) from error
        except Exception as error:  # whatever a module of somebody else's raises
            names = ", ".join(self._parameters_of_forward)
            raise self._refused(
                f"cannot be called with {names} ({type(error).__name__}: {error})."
            ) from error
        finally:
            self.module.train(training)
        if not torch.isfinite(output).all():
            raise self._refused(
                "reads positions, and not through edges, so that its forces would be wrong and crystals "
                "impossible. model.edges=own gives it positions, of molecules only."
            )


class GraphInHand(nn.Module):
    """Edges of the structures that the network is looking at, in place of a search for neighbours.

    It has the signature of the ``interaction_graph`` of PyG's SchNet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current: AtomGraph | None = None

    def forward(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(2, E) [sender, receiver] and (E,) distances in Å.

        Args:
            pos: not looked at.
            batch: not looked at.
        """
        assert self.current is not None
        return _edge_index(self.current), self.current.distances


class DistancesInHand(nn.Module):
    """The same for ViSNet, with the vectors of edges and an edge from each atom to itself.

    Args:
        graph: whose edges are given.
    """

    def __init__(self, graph: GraphInHand):
        super().__init__()
        self._graph = (graph,)  # not a child: it belongs to the network

    def forward(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(2, E + N) [sender, receiver], (E + N,) distances and (E + N, 3) vectors in Å.

        Args:
            pos: not looked at.
            batch: not looked at.
        """
        graph = self._graph[0].current
        assert graph is not None
        own = torch.arange(graph.atoms, device=graph.senders.device)
        edges = torch.cat([_edge_index(graph), own.expand(2, -1)], 1)
        zeros = graph.vectors.new_zeros(graph.atoms, 3)
        return edges, torch.cat([graph.distances, zeros[:, 0]]), torch.cat([graph.vectors, zeros])


def _edge_index(graph: AtomGraph) -> Tensor:
    return torch.stack([graph.senders, graph.receivers])


def _positions(graph: AtomGraph) -> Tensor:
    """(N, 3) Å from the first atom of each structure; NaN where the network is not given pairs of atoms."""
    if graph.pair_vectors is None:
        return graph.vectors.new_full((graph.atoms, 3), torch.nan)
    of_first = graph.pair_vectors[:, 0, 1:]  # (B, n - 1, 3): what stands for the atom itself is left out
    return graph.from_slots(torch.cat([of_first.new_zeros(of_first.shape[0], 1, 3), of_first], 1))


def _data(graph: AtomGraph) -> Data:
    return Data(
        z=graph.numbers,
        pos=_positions(graph),
        batch=graph.batch,
        ptr=graph.ptr,
        edge_index=_edge_index(graph),
        edge_vec=graph.vectors,
        edge_weight=graph.distances,
        charge=graph.charge,
        spin=graph.spin,
    )


def _named(names: str, give: Callable[[AtomGraph], Any]) -> dict[str, Callable[[AtomGraph], Any]]:
    return dict.fromkeys(names.split(), give)


ARGUMENTS: dict[str, Callable[[AtomGraph], Any]] = {
    **_named("z numbers atomic_numbers", lambda graph: graph.numbers),
    **_named("types atom_types", lambda graph: graph.types),
    **_named("pos positions", _positions),
    **_named("batch", lambda graph: graph.batch),
    **_named("ptr", lambda graph: graph.ptr),
    **_named("edge_index", _edge_index),
    **_named("edge_vec edge_vectors edge_vector", lambda graph: graph.vectors),
    **_named("edge_weight edge_lengths edge_dist distances", lambda graph: graph.distances),
    **_named("charge", lambda graph: graph.charge),
    **_named("spin", lambda graph: graph.spin),
    **_named("data", _data),
}
"""What a module's ``forward`` is given, by the names of its parameters: atomic numbers, indices of elements,
positions (N, 3), structures of atoms, edges (2, E) as [sender, receiver], their vectors r_sender - r_receiver
and lengths in Å, total charge and unpaired electrons of structures, or all of them in a ``Data``."""


SHAPE = {
    "width": ("width", "hidden_channels", "num_filters", "hidden_dim", "channels"),
    "layers": ("layers", "num_layers", "num_interactions", "num_blocks", "n_layers"),
    "cutoff": ("cutoff", "cutoff_upper", "r_max"),
}
"""Keys of the configuration, and what modules call them: those of a module that are not among its arguments
are given to it."""


def arguments_of(config: PyGConfig, parameters: Iterable[str]) -> dict[str, Any]:
    """What a module is built with.

    Args:
        config: of the model.
        parameters: names of those that the module takes.

    Raises:
        ConfigurationError: another cutoff than that of the edges is among the arguments.
    """
    given = dict(config.arguments or {})
    for key, names in SHAPE.items():
        for name in names:
            if key == "cutoff" and given.get(name, config.cutoff) != config.cutoff:
                raise ConfigurationError(
                    f"model.arguments.{name}={given[name]}: edges are those within "
                    f"model.cutoff={config.cutoff}. Leave it out, or make them equal."
                )
            if name in parameters:
                given.setdefault(name, getattr(config, key))
    return given


def _built(config: PyGConfig, graph: GraphInHand) -> nn.Module:
    """The module with fresh weights, its search for neighbours replaced."""
    make = _found(config.module)
    parameters = inspect.signature(make).parameters
    arguments = arguments_of(config, parameters)
    shown = dict(arguments)
    if config.edges == "ours" and "interaction_graph" in parameters:
        arguments["interaction_graph"] = graph
    try:
        module = make(**arguments)
    except Exception as error:  # whatever a module of somebody else's raises
        raise ConfigurationError(
            f"model.module={config.module}: cannot be built with {shown} ({type(error).__name__}: {error}). "
            "What it needs beside is given by model.arguments."
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigurationError(
            f"model.module={config.module}: made no module, but {type(module).__name__}."
        )
    if config.edges == "ours":
        for parent in list(module.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, Distance):
                    setattr(parent, name, DistancesInHand(graph))
    return module


def _found(name: str) -> Callable[..., Any]:
    """The class or function of a dotted name.

    A model folder may come from anywhere, and building it must not run what it names: only classes of modules
    are taken, and functions of modules that the user has named as plugins.
    """
    plugins = load_plugins()
    where, _, last = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(where), last)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"model.module={name!r}: cannot be imported ({error}). Give the dotted name of a class, such as "
            "torch_geometric.nn.models.SchNet; a file of your own is found where CHEMSCALE_PLUGINS names it."
        ) from None
    is_module = isinstance(found, type) and issubclass(found, nn.Module)
    if not is_module and not (callable(found) and where in {plugin.partition(":")[0] for plugin in plugins}):
        raise ConfigurationError(
            f"model.module={name}: is no class of torch.nn.Module. A function that returns one is taken from "
            "modules that CHEMSCALE_PLUGINS names."
        )
    return found


def _parameters(module: nn.Module, config: PyGConfig) -> list[str]:
    """Parameters of the module's forward that it is given."""
    parameters = inspect.signature(module.forward).parameters.values()
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = [p.name for p in parameters if p.default is p.empty and p.name in set(names) - set(ARGUMENTS)]
    if unknown:
        raise ConfigurationError(
            f"model.module={config.module}: its forward takes {', '.join(unknown)}, which is none of "
            f"{', '.join(ARGUMENTS)}."
        )
    return [name for name in names if name in ARGUMENTS]


def _example(elements: tuple[int, ...], config: PyGConfig, dtype: torch.dtype) -> AtomGraph:
    """Two structures of two atoms each, near each other."""
    apart = torch.tensor([0.4 * config.cutoff, 0.0, 0.0], dtype=dtype)
    unit = torch.tensor([1.0, 0.0, 0.0], dtype=dtype)
    senders, two = torch.tensor([1, 0, 3, 2]), torch.tensor([0, 2, 4])
    connectivity = Connectivity(
        numbers=torch.tensor([elements[0], elements[-1]] * 2),
        types=torch.tensor([0, len(elements) - 1] * 2),
        senders=senders,
        receivers=torch.arange(4),
        batch=torch.tensor([0, 0, 1, 1]),
        ptr=two,
        charge=torch.zeros(2, dtype=dtype),
        spin=torch.zeros(2, dtype=dtype),
        receiver_offsets=torch.arange(5),
        sender_order=senders,
        sender_offsets=torch.arange(5),
        slots=slots_of(two, 4, 2) if config.molecules_only else None,
    )
    pairs = torch.stack([torch.stack([unit, apart]), torch.stack([-apart, unit])])
    return AtomGraph.of(
        connectivity,
        torch.stack([apart, -apart] * 2),
        pairs.expand(2, -1, -1, -1) if config.molecules_only else None,
    )
