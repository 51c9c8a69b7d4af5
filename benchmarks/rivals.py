"""One training step of public interatomic-potential codes on CPU: atoms/s at fixed hyper-parameters.

    rivals/bin/python benchmarks/rivals.py STRUCTURES.xyz --model schnetpack-painn [--batch 64]
        [--steps 5] [--repeats 3] [--warmup 3] [--threads 1]

A step is: zero_grad, energies, forces by autograd with create_graph, MSE(E) + MSE(F), backward, AdamW.
Neighbour lists and collation are done once, before the clock starts. Weights are float32, the cutoff is 5 Å,
and each code trains as it does by default: eagerly, with neither torch.compile nor a scripted model (MACE's
e3nn 0.4.4 scripts its generated tensor products, as it does in training). Prints a JSON line for each model:
the best and the median over repeats of the mean seconds of a step. Several models, or "all", each get a
process of their own, since some codes set global state; a code that is not installed is skipped.

The codes live in environments of their own, with the torch of ours:

    uv venv rivals --python 3.11          nequip==0.19.1 nequip-allegro==0.8.3
    uv venv rivals_mace --python 3.11     mace-torch==0.3.16, apart because it pins e3nn==0.4.4

schnetpack 2.2.0 asks for Python 3.12 but runs on 3.11; it goes into the first with
pip install --no-deps --ignore-requires-python schnetpack==2.2.0, and vesin, tensorboardX, progressbar,
hydra-colorlog, fasteners, dirsync, torch-ema, h5py, tensorboard beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import torch
import torch.nn.functional as F

CUTOFF = 5.0

Predict = Callable[[], tuple[torch.Tensor, torch.Tensor]]


@dataclass
class Rival:
    """A model of another code, ready to be timed.

    Args:
        code: its name.
        package: its name in the registry.
        model: with its weights.
        predict: gives energies and forces of the one batch.
        edges: of the batch.
        hyper: hyper-parameters, for the report.
    """

    code: str
    package: str
    model: torch.nn.Module
    predict: Predict
    edges: int
    hyper: dict[str, Any]


def fresh(batch: dict[str, Any], positions: str) -> dict[str, Any]:
    """A batch as a loader would hand it over: its positions carry no graph and no gradient.

    Args:
        batch: of the code.
        positions: key of the positions.
    """
    return {**batch, positions: batch[positions].detach()}


def schnetpack(frames: list[ase.Atoms], kind: str, n_interactions: int) -> Rival:
    """SchNetPack's PaiNN or SchNet."""
    import schnetpack as spk
    from schnetpack import properties
    from schnetpack.interfaces import AtomsConverter
    from schnetpack.transform import MatScipyNeighborList

    width, n_rbf = 128, 20
    radial, cutoff = spk.nn.GaussianRBF(n_rbf, CUTOFF), spk.nn.CosineCutoff(CUTOFF)
    hyper: dict[str, Any] = {"n_atom_basis": width, "n_interactions": n_interactions}
    if kind == "painn":
        representation = spk.representation.PaiNN(width, n_interactions, radial, cutoff)
    else:
        representation = spk.representation.SchNet(width, n_interactions, radial, cutoff, n_filters=width)
        hyper["n_filters"] = width
    readout = spk.atomistic.Atomwise(n_in=width, output_key=properties.energy)
    model = spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[readout, spk.atomistic.Forces()],
    )
    hyper |= {
        "radial": f"{n_rbf} GaussianRBF, fixed",
        "cutoff": f"CosineCutoff {CUTOFF} A",
        "readout": [layer.out_features for layer in readout.outnet],
    }
    batch = AtomsConverter(MatScipyNeighborList(CUTOFF), dtype=torch.float32)(frames)

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        out = model(fresh(batch, properties.R))
        return out[properties.energy], out[properties.forces]

    return Rival("schnetpack", "schnetpack", model, predict, len(batch[properties.idx_i]), hyper)


def nequip_batch(frames: list[ase.Atoms], types: list[str]) -> dict[str, torch.Tensor]:
    """A batch by nequip's own pipeline; without periodicity the cell is dropped, which spares it the stress.

    Args:
        frames: of the batch.
        types: symbols of the elements.
    """
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform

    transforms = [ChemicalSpeciesToAtomTypeMapper(types), NeighborListTransform(CUTOFF)]
    rows = []
    for frame in frames:
        row = from_ase(frame)
        for transform in transforms:
            row = transform(row)
        rows.append(row)
    batch = AtomicDataDict.batched_from_list(rows)
    if not any(frame.pbc.any() for frame in frames):
        del batch[AtomicDataDict.CELL_KEY], batch[AtomicDataDict.EDGE_CELL_SHIFT_KEY]
    return batch


def nequip_rival(
    frames: list[ase.Atoms], code: str, package: str, build: Callable[..., Any], hyper: dict[str, Any]
) -> Rival:
    """A model of the nequip package or of an extension of it."""
    from nequip.data import AtomicDataDict
    from nequip.nn import ScalarMLPFunction
    from nequip.utils.global_state import set_global_state

    set_global_state()
    types = sorted({symbol for frame in frames for symbol in frame.get_chemical_symbols()})
    batch = nequip_batch(frames, types)
    edges = AtomicDataDict.num_edges(batch)
    model = build(
        seed=0,
        model_dtype="float32",
        r_max=CUTOFF,
        type_names=types,
        avg_num_neighbors=edges / AtomicDataDict.num_nodes(batch),
        **hyper,
    )
    mlps = {
        name: module.dims for name, module in model.named_modules() if isinstance(module, ScalarMLPFunction)
    }
    hyper = hyper | {"r_max": CUTOFF, "mlp_dims": {k.removeprefix("model.func."): v for k, v in mlps.items()}}
    hyper["geometry"] = "positions and lengths in float64, the package's own choice"

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        out = model(fresh(batch, AtomicDataDict.POSITIONS_KEY))
        return out[AtomicDataDict.TOTAL_ENERGY_KEY].flatten(), out[AtomicDataDict.FORCE_KEY]

    return Rival(code, package, model, predict, edges, hyper)


def nequip(frames: list[ase.Atoms], l_max: int, parity: bool) -> Rival:
    """NequIP."""
    from nequip.model import NequIPGNNModel

    hyper = {
        "num_layers": 4,
        "l_max": l_max,
        "parity": parity,
        "num_features": 32,
        "radial_mlp_depth": 2,
        "radial_mlp_width": 64,
        "num_bessels": 8,
        "polynomial_cutoff_p": 6,
    }
    return nequip_rival(frames, "nequip", "nequip", NequIPGNNModel, hyper)


def allegro(frames: list[ase.Atoms], l_max: int) -> Rival:
    """Allegro."""
    from allegro.model import AllegroModel

    hyper = {
        "num_layers": 2,
        "l_max": l_max,
        "parity": True,
        "num_scalar_features": 64,
        "num_tensor_features": 32,
        "radial_chemical_embed": {
            "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
            "num_bessels": 8,
            "polynomial_cutoff_p": 6,
        },
        "scalar_embed_mlp_hidden_layers_depth": 1,
        "scalar_embed_mlp_hidden_layers_width": 64,
        "allegro_mlp_hidden_layers_depth": 1,
        "allegro_mlp_hidden_layers_width": 64,
        "readout_mlp_hidden_layers_depth": 1,
        "readout_mlp_hidden_layers_width": 32,
    }
    return nequip_rival(frames, "allegro", "nequip-allegro", AllegroModel, hyper)


def mace(frames: list[ase.Atoms], max_ell: int) -> Rival:
    """MACE."""
    torch.serialization.add_safe_globals([slice])  # in a file that e3nn 0.4.4 loads when imported
    from e3nn import o3
    from mace import data, modules, tools
    from mace.tools import torch_geometric

    table = tools.get_atomic_number_table_from_zs(z for frame in frames for z in frame.numbers)
    keys = data.KeySpecification(info_keys={}, arrays_keys={})
    graphs = [
        data.AtomicData.from_config(data.config_from_atoms(frame, keys), z_table=table, cutoff=CUTOFF)
        for frame in frames
    ]
    batch = torch_geometric.Batch.from_data_list(graphs).to_dict()
    edges = batch["edge_index"].shape[1]
    hyper: dict[str, Any] = {
        "r_max": CUTOFF,
        "num_bessel": 8,
        "num_polynomial_cutoff": 5,
        "max_ell": max_ell,
        "num_interactions": 2,
        "hidden_irreps": "64x0e+64x1o",
        "MLP_irreps": "16x0e",
        "correlation": 3,
        "radial_MLP": [64, 64, 64],
        "use_reduced_cg": False,
    }
    blocks = {
        "interaction_cls_first": "RealAgnosticInteractionBlock",
        "interaction_cls": "RealAgnosticResidualInteractionBlock",
    }
    model = modules.ScaleShiftMACE(
        **hyper | {key: o3.Irreps(hyper[key]) for key in ("hidden_irreps", "MLP_irreps")},
        **{key: modules.interaction_classes[name] for key, name in blocks.items()},
        num_elements=len(table),
        atomic_numbers=table.zs,
        atomic_energies=np.zeros((1, len(table))),
        avg_num_neighbors=edges / len(batch["positions"]),
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        out = model(fresh(batch, "positions"), training=True)
        return out["energy"], out["forces"]

    return Rival("mace", "mace-torch", model, predict, edges, hyper | blocks)


MODELS: dict[str, Callable[[list[ase.Atoms]], Rival]] = {
    "schnetpack-painn": lambda frames: schnetpack(frames, "painn", n_interactions=3),
    "schnetpack-schnet": lambda frames: schnetpack(frames, "schnet", n_interactions=6),
    "nequip-l1": lambda frames: nequip(frames, l_max=1, parity=True),
    "nequip-l2": lambda frames: nequip(frames, l_max=2, parity=False),
    "allegro-l1": lambda frames: allegro(frames, l_max=1),
    "allegro-l2": lambda frames: allegro(frames, l_max=2),
    "mace": lambda frames: mace(frames, max_ell=2),
    "mace-ell3": lambda frames: mace(frames, max_ell=3),
}


def read(path: Path, batch: int) -> tuple[list[ase.Atoms], np.ndarray, np.ndarray]:
    """Read structures bare of labels, their energies less the mean, and their forces.

    Args:
        path: of the file.
        batch: how many, from the first on.
    """
    frames = ase.io.read(path, index=f":{batch}")
    if len(frames) < batch:
        raise SystemExit(f"{path}: {len(frames)} structures, but the batch is {batch}")
    energies = np.array([frame.get_potential_energy() for frame in frames])
    forces = np.concatenate([frame.get_forces() for frame in frames])
    bare = [
        ase.Atoms(f.numbers, f.positions, cell=f.cell if f.pbc.any() else None, pbc=f.pbc) for f in frames
    ]
    return bare, energies - energies.mean(), forces


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Time a training step of one model; returns the line to print."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    frames, energies, forces = read(options.structures, options.batch)
    rival = MODELS[name](frames)
    model = rival.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    predicted = rival.predict()
    targets = [torch.as_tensor(y).to(p) for y, p in zip((energies, forces), predicted, strict=True)]
    if [y.shape for y in targets] != [p.shape for p in predicted]:
        raise SystemExit(f"{name}: predicted {[tuple(p.shape) for p in predicted]}")
    del predicted

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        energy, force = rival.predict()
        loss = F.mse_loss(energy, targets[0]) + F.mse_loss(force, targets[1])
        loss.backward()
        optimizer.step()
        return loss.detach()

    losses = [step() for _ in range(options.warmup)]
    seconds = []
    for _ in range(options.repeats):
        started = time.perf_counter()
        losses += [step() for _ in range(options.steps)]
        seconds.append((time.perf_counter() - started) / options.steps)
    if not all(math.isfinite(loss) for loss in losses):
        raise SystemExit(f"{name}: the loss is not finite")
    atoms = len(forces)
    embeddings = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Embedding))
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {
        "code": rival.code,
        "version": version(rival.package),
        "torch": torch.__version__,
        "model": name,
        "hyper-parameters": rival.hyper,
        "parameters": parameters,
        "parameters_without_embedding": parameters - embeddings,
        "structures": len(frames),
        "atoms": atoms,
        "edges": rival.edges,
        "threads": options.threads,
        "seconds_per_step": round(min(seconds), 4),
        "median": round(statistics.median(seconds), 4),
        "atoms_per_second": round(atoms / min(seconds), 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "loss": [round(float(losses[0]), 4), round(float(losses[-1]), 4)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("structures", type=Path, help="extended XYZ with energies and forces")
    parser.add_argument("--model", nargs="+", choices=[*MODELS, "all"], default=["all"])
    parser.add_argument("--batch", type=int, default=64, help="structures")
    parser.add_argument("--steps", type=int, default=5, help="steps timed together")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=3, help="steps before the clock starts")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    names = list(MODELS) if "all" in options.model else options.model
    if len(names) > 1:
        keys = ("batch", "steps", "repeats", "warmup", "threads")
        shared = [word for key in keys for word in (f"--{key}", str(getattr(options, key)))]
        codes = [
            subprocess.run(
                [sys.executable, __file__, str(options.structures), *shared, "--model", name], check=False
            ).returncode
            for name in names
        ]
        sys.exit(max(map(abs, codes)))
    warnings.filterwarnings("ignore")
    try:
        print(json.dumps(measure(names[0], options)), flush=True)
    except ImportError as error:
        print(f"{names[0]}: skipped, not installed in {sys.prefix} ({error})", file=sys.stderr)


if __name__ == "__main__":
    main()
