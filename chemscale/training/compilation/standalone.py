"""A potential as one graph of plain operations: a structure to its energy, forces and stress, without Python.

The graph is traced as that of compiled training steps is (``tracing``), the first derivative included, and
holds for any number of atoms and edges. Our own sums over segments become PyTorch's ``index_add``, so that
no library of ours is asked for. AOTInductor compiles it to a package that C++ loads; saved as it stands it is
an exported program, which PyTorch elsewhere can open and compile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule
from torch_geometric.data import Data

from chemscale.common.logs import errors_only
from chemscale.models.geometry import forces_of_edges, forces_of_pairs, virial
from chemscale.models.potential import Potential
from chemscale.models.potentials import INPUTS, OUTPUTS, PACKAGE_FORMAT
from chemscale.training.compilation.toolchain import missing_for_compiling
from chemscale.training.compilation.tracing import CompilationError, trace

LOGGERS = ("torch.export", "torch._inductor", "torch._export")
"""They tell of torch's own code while it exports."""
VARYING = dict.fromkeys(("numbers", "positions", "senders", "receivers", "shifts"), (0,))
"""Inputs whose first dimension differs from structure to structure: atoms, or edges."""
EXAMPLE = (5, 7)
"""Atoms and edges that the graph is traced with; any would do."""
METADATA = "chemscale.json"
"""Name of the metadata within a saved exported program."""


class OneStructure(nn.Module):
    """What the graph computes: `INPUTS` to `OUTPUTS` for one molecule or crystal.

    Args:
        potential: whose energies, and derivatives of them, these are.
    """

    def __init__(self, potential: Potential):
        super().__init__()
        self.potential = potential

    def forward(
        self,
        numbers: Tensor,
        positions: Tensor,
        cell: Tensor,
        senders: Tensor,
        receivers: Tensor,
        shifts: Tensor,
        charge: Tensor,
        spin: Tensor,
    ) -> tuple[Tensor, ...]:
        """Energy (1,), atomic energies (N,), forces (N, 3), virial (3, 3) and stress (3, 3).

        Args:
            numbers: (N,) int64, atomic numbers.
            positions: (N, 3) float64 Å.
            cell: (3, 3) float64 Å, rows are vectors; zeros for a molecule.
            senders: (E,) int64, one atom of each directed edge, in any order.
            receivers: (E,) int64, the other.
            shifts: (E, 3) int64, cells that each sender is shifted by.
            charge: (1,) int64, in e.
            spin: (1,) int64, multiplicity 2S+1, 0 where it is not stated.
        """
        potential, atoms = self.potential, numbers.shape[0]
        data = Data(
            z=numbers,
            pos=positions,
            edge_index=torch.stack([senders, receivers]),
            edge_shift=shifts,
            cell=cell[None],
            batch=torch.zeros_like(numbers),
            ptr=torch.arange(2, device=numbers.device) * atoms,
            charge=charge,
            spin=spin,
            largest=atoms,
            # Sums are taken by index_add, which reads no order of edges.
            sender_order=torch.arange(senders.shape[0], device=senders.device),
        )
        connectivity = potential.connectivity(data)
        vectors, pairs = potential.vectors(data, positions.detach())
        leaves = [leaf.detach().requires_grad_() for leaf in (vectors, pairs) if leaf is not None]
        energies = potential.energies_of(connectivity, leaves[0], leaves[1] if len(leaves) > 1 else None)
        of_edges, *of_pairs = torch.autograd.grad(
            energies.sum(), leaves, allow_unused=True, materialize_grads=True
        )
        forces = forces_of_edges(of_edges.double(), connectivity)
        for gradient in of_pairs:
            forces = forces + forces_of_pairs(gradient.double(), connectivity)
        strained = virial(vectors.double(), of_edges.double(), connectivity)[0]
        if potential.molecules_only:  # pairs of all atoms are not among these edges
            strained = torch.full_like(strained, torch.nan)
        volume = torch.dot(cell[0], torch.linalg.cross(cell[1], cell[2])).abs()
        stress = torch.where(volume > 0, strained / volume, torch.nan)
        return energies.sum(0, keepdim=True).detach(), energies.detach(), forces, strained, stress


class _Traced(nn.Module):
    """A traced graph that holds its weights, and the constants that tracing left in it, as buffers."""

    def __init__(self, graph: GraphModule, weights: Mapping[str, Tensor]):
        super().__init__()
        held = [*_take_constants(graph), *weights.values()]
        self.graph, self.held = graph, [f"held_{number}" for number in range(len(held))]
        for name, tensor in zip(self.held, held, strict=True):
            self.register_buffer(name, tensor.detach().clone())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """`INPUTS` to `OUTPUTS`."""
        return self.graph(*(getattr(self, name) for name in self.held), *inputs)


def _take_constants(graph: GraphModule) -> list[Tensor]:
    """Make the constants of a graph its first arguments, which torch.export does not lose; their values."""
    nodes = [node for node in graph.graph.nodes if node.op == "get_attr"]
    first = next(iter(graph.graph.nodes))
    for number, node in enumerate(nodes):
        with graph.graph.inserting_before(first):
            node.replace_all_uses_with(graph.graph.placeholder(f"constant_{number}"))
        graph.graph.erase_node(node)
    graph.recompile()
    values = [getattr(graph, str(node.target)) for node in nodes]
    for name in {str(node.target) for node in nodes}:
        delattr(graph, name)
    return values


def export_structure_graph(potential: Potential) -> ExportedProgram:
    """Trace a potential's energies, forces and stress of one structure to plain operations.

    Args:
        potential: in the precision and on the device that the graph is for; its weights are copied.

    Raises:
        CompilationError: it cannot be traced for every size.
    """
    one = OneStructure(potential).eval()
    state = dict(one.named_parameters()) | dict(one.named_buffers())
    example = _example(potential)

    def compute(values: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        return torch.func.functional_call(one, dict(values), (), dict(inputs))

    try:
        with errors_only(*LOGGERS), torch.enable_grad():
            graph, read = trace(compute, state, example, VARYING)
            atoms, edges = Dim("atoms", min=2), Dim("edges", min=2)
            sizes = {"numbers": atoms, "positions": atoms}
            shapes = tuple({0: sizes.get(name, edges)} if name in VARYING else None for name in example)
            traced = _Traced(graph, {name: state[name] for name in read})
            program = torch.export.export(
                traced, tuple(example.values()), dynamic_shapes=(shapes,), strict=False
            )
            return program.run_decompositions(_plain_operations())
    except CompilationError:
        raise
    except Exception as error:  # torch raises of many kinds
        raise CompilationError(f"torch.export: {str(error).strip().splitlines()[0]}") from error


def _example(potential: Potential) -> dict[str, Tensor]:
    """Inputs of usual types; nothing is computed of them."""
    (atoms, edges), device = EXAMPLE, potential.references.device
    numbers = torch.full((atoms,), potential.elements[0], device=device)
    ends = torch.arange(edges, device=device) % atoms
    return {
        "numbers": numbers,
        "positions": torch.zeros(atoms, 3, dtype=torch.float64, device=device),
        "cell": torch.zeros(3, 3, dtype=torch.float64, device=device),
        "senders": ends.flip(0),
        "receivers": ends.clone(),
        "shifts": torch.zeros(edges, 3, dtype=torch.int64, device=device),
        "charge": torch.zeros(1, dtype=torch.int64, device=device),
        "spin": torch.zeros(1, dtype=torch.int64, device=device),
    }


def _plain_operations() -> dict[Any, Any]:
    """PyTorch's operations for those of our library."""

    def gather(x: Tensor, index: Tensor, offsets: Tensor, order: Tensor | None) -> Tensor:
        return x.index_select(0, index)

    def add(x: Tensor, index: Tensor, offsets: Tensor, order: Tensor | None) -> Tensor:
        return x.new_zeros(offsets.shape[0] - 1, *x.shape[1:]).index_add(0, index, x)

    ours = torch.ops.chemscale
    return {ours.gather_rows.default: gather, ours.segment_sum.default: add}


def metadata_of(potential: Potential, version: str) -> dict[str, str]:
    """What a program must know of the graph before it calls it; lists are parted by spaces.

    Args:
        potential: of which it is.
        version: of chemscale.
    """
    header = potential.header
    return {
        "format": PACKAGE_FORMAT,
        "family": str(header.get("model", {}).get("family", "")),
        "elements": " ".join(map(str, potential.elements)),
        "cutoff": repr(potential.cutoff),
        "dtype": str(potential.dtype).removeprefix("torch."),
        "device": potential.references.device.type,
        "units": "eV Angstrom",
        "inputs": " ".join(INPUTS),
        "outputs": " ".join(OUTPUTS),
        "molecules_only": str(int(potential.molecules_only)),
        "knows_charge": str(int(getattr(potential.network.config, "knows_charge", False))),
        "electrons": json.dumps(header.get("data", {}).get("electrons")),
        "subtract": json.dumps(header.get("data", {}).get("subtract")),
        "chemscale": version,
        "torch": torch.__version__,
    }


def save_package(program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
    """Compile a graph by AOTInductor to a package that C++ loads, for this kind of machine.

    Args:
        program: of ``export_structure_graph``.
        path: of the file, ending in ``.pt2``.
        metadata: as ``metadata_of``; it can be read without running anything.

    Raises:
        CompilationError: there is no compiler, or it fails.
    """
    problem = missing_for_compiling(cuda=metadata["device"] == "cuda", forces=False)
    if problem:
        raise CompilationError(problem)
    try:
        with errors_only(*LOGGERS):
            torch._inductor.aoti_compile_and_package(
                program,
                package_path=str(path),
                inductor_configs={"aot_inductor.metadata": dict(metadata), "max_autotune": False},
            )
    except Exception as error:  # of the compiler, or of torch's code around it
        raise CompilationError(f"AOTInductor: {str(error).strip().splitlines()[0]}") from error


def save_program(program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a graph as an exported program, which any machine with PyTorch can open and compile.

    Args:
        program: of ``export_structure_graph``.
        path: of the file, ending in ``.pt2``.
        metadata: as ``metadata_of``.
    """
    torch.export.save(program, path, extra_files={METADATA: json.dumps(dict(metadata))})
