"""Sets in object stores are compared and left out as those on a disk are."""

import shutil

import pytest

from chemscale.molecules.preparation.build import build_corpus
from chemscale.objects.address import local_place
from chemscale.objects.seals import publish_folder
from chemscale.points.overlap.named import kind_of, molecules_named

ROWS = "smiles,part\nCCO,test\nCCN,train\nc1ccccc1,test\n"


def smiles_of(named):
    return [smiles for rows in named.chunks() for _, smiles in rows.molecules()]


def test_files_at_an_address_are_a_set(bucket):
    bucket.put("sets/bench.csv", ROWS.encode())
    for name, expected in {
        "sets/bench.csv": ["CCO", "CCN", "c1ccccc1"],
        "sets/bench.csv:part=test": ["CCO", "c1ccccc1"],
        "sets/*.csv": ["CCO", "CCN", "c1ccccc1"],
        "sets": ["CCO", "CCN", "c1ccccc1"],
    }.items():
        assert kind_of(f"{bucket.url}/{name}", "BENCHMARK") == "molecules"
        named = molecules_named(f"{bucket.url}/{name}", "data.exclude")
        assert named.name == f"{bucket.url}/{name}"
        assert smiles_of(named) == expected
    with pytest.raises(FileNotFoundError, match=r"data.exclude=s3://.*/none: the store has no such file"):
        molecules_named(f"{bucket.url}/none", "data.exclude")


def test_a_corpus_at_an_address_is_fetched_and_is_a_set(bucket, tmp_path):
    (tmp_path / "m.smi").write_text("".join(f"{'C' * n}O\n" for n in range(1, 30)))
    folder = local_place(f"{bucket.url}/corpora/mine")
    corpus = build_corpus([tmp_path / "m.smi"], folder, validation_fraction=0.2, workers=1)
    sizes = len(corpus.train), len(corpus.validation)
    assert publish_folder(folder)
    shutil.rmtree(folder)
    name = f"{bucket.url}/corpora/mine"
    assert kind_of(name, "TRAIN") == "molecules"
    assert molecules_named(name, "TRAIN", trained_on=True).total == sizes[0]
    assert len(smiles_of(molecules_named(name, "BENCHMARK"))) == sum(sizes)
