"""Small whole files of every format that is read, as (reader, name, content, kind of mutation)."""

import io
import json
import tarfile
import zipfile
from dataclasses import dataclass

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write
from rdkit import Chem
from torch_geometric.data import Data

from tests.helpers.fuzzing.mutations import PACKERS
from tests.helpers.sources import springs

SMILES = [
    "CCO",
    "c1ccccc1O",
    "CC(=O)Nc1ccc(O)cc1",
    "C[C@H](N)C(=O)O",
    "CCN(CC)CC",
    "OCC(O)CO",
    "CCO",
    "[Na+].[Cl-]",
]


@dataclass(frozen=True)
class Seed:
    """A file to damage.

    Args:
        reader: molecules | structures | labels | laws | curves.
        name: of the file, whose suffix counts.
        content: of the file.
        kind: of mutations, see ``mutations.mutate``.
        beside: other files that belong to it.
    """

    reader: str
    name: str
    content: bytes
    kind: str
    beside: tuple[tuple[str, bytes], ...] = ()


def _parquet(table):
    sink = io.BytesIO()
    pa.parquet.write_table(pa.table(table), sink)
    return sink.getvalue()


def _arrow(table, stream):
    table, sink = pa.table(table), io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _zip(members):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return sink.getvalue()


def _molecules():
    ids = [f"m{i}" for i in range(len(SMILES))]
    csv = "id,smiles,logp\n" + "".join(
        f"{i},{s},{n / 2}\n" for n, (i, s) in enumerate(zip(ids, SMILES, strict=True))
    )
    quoted = "smiles,name\n" + "".join(f'"{s}","name, {i}"\n' for i, s in zip(ids, SMILES, strict=True))
    records = [{"id": i, "a": {"smiles": s}, "x": [1, 2]} for i, s in zip(ids, SMILES, strict=True)]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    blocks = []
    for text in SMILES:
        molecule = Chem.MolFromSmiles(text)
        blocks.append(Chem.MolToMolBlock(molecule) + f">  <smiles>  (1)\n{text}\n\n$$$$\n")
    smi = "".join(f"{s} {i}\n" for i, s in zip(ids, SMILES, strict=True))
    selfies = "selfies\n" + "[C][C][O]\n[C][=C][Branch1][C][O][C]\n" * 4
    table = {"id": ids, "smiles": SMILES, "y": list(range(len(SMILES)))}
    texts = {
        "a.csv": csv,
        "b.csv": quoted,
        "c.csv": csv.replace(",", ";"),
        "d.csv": selfies,
        "a.tsv": csv.replace(",", "\t"),
        "a.smi": smi,
        "a.txt": "\n".join(SMILES) + "\n",
        "a.json": json.dumps(records),
        "a.jsonl": lines,
        "b.json": json.dumps({"columns": ["smiles", "y"], "data": [[s, 1] for s in SMILES]}),
        "c.json": json.dumps({"data": {"rows": [{"smiles": s} for s in SMILES]}}),
        "a.sdf": "".join(blocks),
    }
    for name, text in texts.items():
        yield Seed("molecules", name, text.encode(), "text")
    for packer, (pack, _) in PACKERS.items():
        yield Seed("molecules", f"a.csv.{packer}", pack(csv.encode()), f"packed.{packer}")
    yield Seed("molecules", "a.smi.gz", PACKERS["gz"][0](smi.encode()), "packed.gz")
    yield Seed("molecules", "a.zip", _zip({"x/a.csv": csv, "x/b.smi": smi}), "binary")
    yield Seed("molecules", "a.parquet", _parquet(table), "binary")
    yield Seed("molecules", "a.arrow", _arrow(table, stream=False), "binary")
    yield Seed("molecules", "b.arrow", _arrow(table, stream=True), "binary")


def _frames(periodic):
    frames = []
    for i in range(6):
        atoms = Atoms("OH" if i % 3 else "OHH", np.eye(3)[: 2 if i % 3 else 3] * (0.9 + i / 50))
        if periodic:
            atoms.set_cell(np.diag([4.0, 5, 6]))
            atoms.pbc = True
        results = {"energy": -1.0 - i, "forces": np.full((len(atoms), 3), i / 10)}
        atoms.calc = SinglePointCalculator(
            atoms, **results, **({"stress": np.arange(6.0)} if periodic else {})
        )
        frames.append(atoms)
    return frames


def _by_ase(folder):
    for name, periodic in (("a.extxyz", False), ("b.extxyz", True)):
        write(folder / name, _frames(periodic))
        yield Seed("structures", name, (folder / name).read_bytes(), "text")
    content = (folder / "a.extxyz").read_bytes()
    yield Seed("structures", "a.xyz.gz", PACKERS["gz"][0](content), "packed.gz")
    write(folder / "a.traj", _frames(True))
    yield Seed("structures", "a.traj", (folder / "a.traj").read_bytes(), "binary")
    for name, kind in (("a.db", "binary"), ("a.json", "text"), ("a.aselmdb", "binary")):
        with connect(folder / name) as database:
            for atoms in _frames(False):
                database.write(atoms, data={"charge": 0, "spin": 1})
        getattr(database, "close", lambda: None)()
        yield Seed("structures", name, (folder / name).read_bytes(), kind)


def _arrays():
    positions, energies, forces = springs(5)
    for name, keys in (
        ("r.npz", ("nuclear_charges", "coords", "energies", "forces")),
        ("s.npz", ("z", "R", "E", "F")),
    ):
        sink = io.BytesIO()
        np.savez(sink, **dict(zip(keys, (np.array([1, 1]), positions, energies, forces), strict=True)))
        yield Seed("structures", name, sink.getvalue(), "npz")
    z = np.array([1, 1])
    layouts = {
        "ani1x.h5": {
            "atomic_numbers": z,
            "coordinates": positions,
            "wb97x_dz.energy": energies,
            "wb97x_dz.forces": forces,
        },
        "ani1.h5": {"species": np.array([b"O", b"H"]), "coordinates": positions, "energies": energies},
        "ani2x.h5": {
            "species": np.tile(z, (5, 1)),
            "coordinates": positions,
            "energies": energies,
            "forces": forces,
        },
        "comp6.h5": {"species": z, "coordinates": positions, "energies": energies, "forces": forces},
        "spice.h5": {
            "atomic_numbers": z,
            "conformations": positions,
            "dft_total_energy": energies,
            "dft_total_gradient": forces,
            "smiles": np.array([b"[H][H]"]),
        },
        "aimnet2.h5": {
            "numbers": np.tile(z, (5, 1)),
            "coord": positions,
            "energy": energies,
            "forces": forces,
            "charge": np.zeros(5),
            "mult": np.ones(5),
        },
    }
    for name, arrays in layouts.items():
        sink = io.BytesIO()
        with h5py.File(sink, "w") as file:
            for group in ("A", "B"):
                for key, values in arrays.items():
                    file[f"{group}/{key}"] = values
        yield Seed("structures", name, sink.getvalue(), "h5")
    table = {
        "atomic_numbers": [[1, 1]] * 5,
        "positions": positions.tolist(),
        "energy": energies.tolist(),
        "forces": forces.tolist(),
        "cell": [None, *[np.eye(3).tolist()] * 4],
        "charge": [0] * 5,
    }
    yield Seed("structures", "p.parquet", _parquet(table), "binary")
    yield Seed("structures", "f.arrow", _arrow(table, stream=False), "binary")
    yield Seed("structures", "s.arrow", _arrow(table, stream=True), "binary")
    rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    yield Seed("structures", "l.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode(), "text")
    sink = io.BytesIO()
    data = [
        Data(z=torch.tensor([1, 1]), pos=torch.tensor(p), y=torch.full((1, 19), float(e)))
        for p, e in zip(positions, energies, strict=True)
    ]
    torch.save(data, sink)
    yield Seed("structures", "qm9.pt", sink.getvalue(), "binary")


def _qm9_and_cp2k():
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:bz2") as archive:
        for n in range(1, 4):
            rows = f"O\t0.0\t0.0\t{n / 10}\t-0.5\nH\t1.0\t0.0\t0.0\t0.2\nH\t0.0\t1.0\t2.*^-6\t0.2\n"
            text = f"3\ngdb {n}\t" + "\t".join(["0.1"] * 10 + ["-76.4"] * 5) + f"\n{rows}1 2 3\nO\tO\nx\n"
            info = tarfile.TarInfo(f"dsgdb9nsd_{n:06d}.xyz")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    yield Seed("structures", "dsgdb9nsd.xyz.tar.bz2", sink.getvalue(), "packed.bz2")
    steps = [(f" i = {i:8d}, time = {i / 2:12.3f}, E = {-1.0 - i / 10:20.10f}\n", i) for i in range(3)]
    pos = "".join(f"2\n{s}  H  0.0 0.0 0.0\n  H  {0.7 + i / 10:.6f} 0.0 0.0\n" for s, i in steps)
    frc = "".join(f"2\n{s}  H  {i / 10:.6f} 0.0 0.0\n  H  {-i / 10:.6f} 0.0 0.0\n" for s, i in steps)
    cell = "# Step\n" + "".join(f"{i} {i / 2} 8 0 0 0 8 0 0 0 8 512\n" for i in range(3))
    files = {"w-pos-1.xyz": pos, "w-frc-1.xyz": frc, "w-1.cell": cell}
    for name in files:
        # The file that is damaged is the first; the run is always opened by its positions.
        beside = tuple((other, text.encode()) for other, text in files.items() if other != name)
        yield Seed("structures", name, files[name].encode(), "text", beside)


def _labels():
    lines = "smiles,mol_id,y,note\n" + "".join(f"{s},m{i},{i / 2},x\n" for i, s in enumerate(SMILES))
    yield Seed("labels", "labels.csv", lines.encode(), "text")
    classes = "smiles,a,b\n" + "".join(f"{s},{i % 2},{'' if i % 3 else 1}\n" for i, s in enumerate(SMILES))
    yield Seed("labels", "classes.csv.gz", PACKERS["gz"][0](classes.encode()), "packed.gz")
    yield Seed(
        "labels", "labels.parquet", _parquet({"smiles": SMILES, "y": [float(i) for i in range(8)]}), "binary"
    )


def _laws():
    rows = [
        (f"r{i}", n, d, 1.7 + 400 / n**0.34 + 400 / d**0.28)
        for i, (n, d) in enumerate((n, d) for n in (1e6, 2e6, 4e6) for d in (1e8, 2e8, 4e8))
    ]
    csv = "name,params,tokens,val_loss,state\n" + "".join(
        f"{a},{n:.0f},{d:.0f},{loss:.5f},finished\n" for a, n, d, loss in rows
    )
    records = [{"name": a, "params": n, "tokens": d, "val_loss": loss} for a, n, d, loss in rows]
    exported = [
        {
            "name": a,
            "state": "finished",
            "config": {"params": {"value": n}},
            "summary": json.dumps({"tokens": d, "val_loss": loss}),
        }
        for a, n, d, loss in rows
    ]
    by_column = {key: {str(i): r[key] for i, r in enumerate(records)} for key in records[0]}
    split = {
        "columns": list(records[0]),
        "index": list(range(9)),
        "data": [list(r.values()) for r in records],
    }
    texts = {
        "a.csv": csv,
        "a.tsv": csv.replace(",", "\t"),
        "b.csv": csv.replace(",", ";").replace(".", ","),
        "a.json": json.dumps(records),
        "a.jsonl": "".join(json.dumps(r) + "\n" for r in records),
        "w.json": json.dumps(exported),
        "c.json": json.dumps(by_column),
        "s.json": json.dumps(split),
        "q.csv": '# by hand\n"name","params","tokens","val_loss"\n'
        + "".join(f'"{a}","{n:,.0f}","{d:,.0f}","{loss:.4f}"\n' for a, n, d, loss in rows),
    }
    for name, text in texts.items():
        yield Seed("laws", name, text.encode(), "text")
    yield Seed("laws", "a.csv.gz", PACKERS["gz"][0](csv.encode()), "packed.gz")
    yield Seed(
        "laws", "a.parquet", _parquet({key: [r[key] for r in records] for key in records[0]}), "binary"
    )
    curve = "run,step,params,tokens,val_loss\n" + "".join(
        f"r{r},{s},{1e6 * (r + 1):.0f},{s * 1e6:.0f},{3 + 1 / s:.4f}\n" for r in range(3) for s in (1, 2, 3)
    )
    yield Seed("curves", "curves.csv", curve.encode(), "text")


def seeds(folder):
    """All of them.

    Args:
        folder: for what is written by libraries that take paths.
    """
    return [*_molecules(), *_by_ase(folder), *_arrays(), *_qm9_and_cp2k(), *_labels(), *_laws()]
