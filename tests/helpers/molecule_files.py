"""Files of molecules that tests write and read."""

from chemscale.molecules.preparation.sources import Source

SMILES = ["CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "C[C@H](N)C(=O)O", "CCN(CC)CC", "OCC(O)CO"]
OTHER = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCNCC1", "C1CCOCC1", "c1ccsc1"]


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, *args, **options):
    return [text for _, text in Source(path, *args, **options)]


def table(header, *columns, delimiter=","):
    rows = [header.split(",")] if header else []
    rows += zip(*columns, strict=True)
    return "".join(delimiter.join(row) + "\n" for row in rows)


NUMBERS = list("123456")
