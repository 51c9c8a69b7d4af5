"""``python -m chemscale.overlap`` says what is in the training data, in numbers, rows and a page."""

import csv
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.data import chemical_symbols

from chemscale.common.locks import file_lock
from chemscale.molecules.overlap import search as searching
from chemscale.molecules.preparation.build import build_corpus
from chemscale.points.overlap import run as running
from chemscale.points.overlap.named import kind_of, section_of
from chemscale.points.overlap.page import short_names
from chemscale.points.overlap.run import Options, compare
from chemscale.records import RunRecord
from chemscale.structures.preparation.building import SplitPolicy, build_store
from chemscale.structures.sources.combined import open_sources
from tests.helpers.local_runs import write_run
from tests.helpers.molecule_files import put
from tests.helpers.preloaded import python
from tests.helpers.structures import toy_blocks

TRAINING = ["CCO", "C[C@H](N)C(=O)O", "CC(=O)O", "Oc1ccccn1", "Cc1ccc2ccccc2c1", "c1ccccc1"]
TRAINING += [f"{'C' * n}S" for n in range(5, 30)]
BENCHMARK = """id,smiles,canonical_smiles,y
a,OCC,CCO,1
b,OCC,CCO,1
c,C[C@@H](N)C(=O)O,C[C@@H](N)C(=O)O,1
d,CC(=O)[O-].[Na+],CC(=O)[O-].[Na+],1
e,O=c1cccc[nH]1,O=c1cccc[nH]1,1
f,[13CH3]C(=O)O,CC(=O)O,1
g,Oc1cccc2ccccc12,Oc1cccc2ccccc12,1
h,FC(F)(F)Br,FC(F)(F)Br,1
i,C1CC,C1CC,1
"""
WORKERS = Options(workers=1)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "train.smi", "\n".join(TRAINING) + "\n")
    put(tmp_path, "bench.csv", BENCHMARK)
    return tmp_path


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_of_a_benchmark_is_found_at_its_level_or_clean(files):
    found = compare("train.smi", ["bench.csv"], Path("out"), WORKERS)
    (of,) = found.content["benchmarks"]
    assert (of["rows"], of["molecules"], of["distinct"], of["repeated"]) == (9, 8, 7, 1)
    assert of["refused"] == {"unparsable": 1}
    assert {level: each["rows"] for level, each in of["levels"].items()} == {
        "identical": 2, "connectivity": 4, "parent": 6, "scaffold": 7,
    }  # fmt: skip
    listed = {int(row["line"]): row for row in rows_of("out/overlap.csv")}
    assert [listed[line]["level"] for line in sorted(listed)] == [
        *["identical"] * 2, "connectivity", "parent", "parent", "connectivity", "scaffold",
    ]  # fmt: skip
    assert (listed[5]["training_file"], listed[5]["training_line"]) == ("train.smi", "3")
    assert listed[5]["training_smiles"] == "CC(=O)O"
    assert [(row["line"], row["scaffold_in_training"]) for row in rows_of("out/clean.csv")] == [
        ("8", "yes"), ("9", "no"),
    ]  # fmt: skip
    assert found.content["training"]["agreeing"]["parent"] == 4
    assert any("1 of 9 rows are no molecules" in note for note in found.content["notes"])
    page = (files / "out/overlap.html").read_text()
    assert "data:image/svg+xml" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert json.loads((files / "out/overlap.json").read_text())["benchmarks"][0]["distinct"] == 7
    assert not (files / "out/.state").exists()


def test_what_was_found_is_not_looked_for_again_where_writing_failed(files, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(running, "write_page", full)
    with pytest.raises(OSError, match="No space"):
        compare("train.smi", ["bench.csv"], Path("out"), WORKERS)
    monkeypatch.undo()
    monkeypatch.chdir(files)
    monkeypatch.setattr(searching, "compare_chunk", lambda task: pytest.fail("looked again"))
    found = compare("train.smi", ["bench.csv"], Path("out"), WORKERS)
    assert found.content["benchmarks"][0]["levels"]["parent"]["rows"] == 6
    assert {row["training_line"] for row in rows_of("out/overlap.csv")} == {"1", "2", "3", "4", "5"}


def test_a_comparison_of_others_is_not_overwritten(files):
    put(files, "other.csv", BENCHMARK.replace("OCC", "OCCC"))
    pages = [
        compare("train.smi", [name], None, WORKERS).page for name in ("bench.csv", "other.csv", "bench.csv")
    ]
    assert [str(page.parent) for page in pages] == [
        "overlap-train.smi",
        "overlap-train.smi-2",
        "overlap-train.smi",
    ]
    with pytest.raises(ValueError, match=r"--out .*-2: the comparison of train.smi with other.csv is there"):
        compare("train.smi", ["bench.csv"], Path("overlap-train.smi-2"), WORKERS)


def test_who_waited_for_another_comparison_takes_a_folder_of_its_own(files):
    folder = files / "overlap-train.smi"
    folder.mkdir()
    with ThreadPoolExecutor(1) as pool:
        with file_lock(folder / ".lock"):
            waiting = pool.submit(compare, "train.smi", ["bench.csv"], None, WORKERS)
            time.sleep(0.3)  # else it may begin behind this block, where it finds the same
            (folder / "overlap.json").write_text('{"asked": ["train.smi", "other.csv"]}')
        assert waiting.result().page.parent == Path("overlap-train.smi-2")
    assert sorted(each.name for each in folder.iterdir() if each.name != ".lock") == ["overlap.json"]


def test_a_column_that_is_named_is_read(files):
    put(files, "two.csv", "left_mol,right_mol\n" + "".join(f"{'C' * n}F,{'C' * n}S\n" for n in range(5, 20)))
    with pytest.raises(ValueError, match="--column"):
        compare("train.smi", ["two.csv"], Path("out"), WORKERS)
    left = compare("train.smi", ["two.csv"], Path("out"), Options(column="left_mol", workers=1))
    right = compare("train.smi", ["two.csv"], Path("out"), Options(column="right_mol", workers=1))
    shares = [each.content["benchmarks"][0]["levels"]["identical"]["share"] for each in (left, right)]
    assert shares == [0.0, 1.0]


def test_rows_are_chosen_by_a_column(files):
    put(files, "parts.csv", "SMILES,SPLIT\nOCC,test\nCCCCCCS,train\nFCBr,test\nCC(O)=O,valid\n")
    found = compare("train.smi", ["parts.csv:SPLIT=test", "parts.csv:SPLIT=valid"], Path("out"), WORKERS)
    test, valid = found.content["benchmarks"]
    assert (test["rows"], test["levels"]["identical"]["rows"]) == (2, 1)
    assert (valid["rows"], valid["levels"]["identical"]["rows"]) == (1, 1)
    assert [row["line"] for row in rows_of("out/overlap.csv")] == ["2", "5"]
    with pytest.raises(ValueError, match=r"parts\.csv: there is no column split.*SMILES, SPLIT"):
        compare("train.smi", ["parts.csv:split=test"], Path("again"), WORKERS)
    with pytest.raises(ValueError, match="no row of it is a molecule"):
        compare("train.smi", ["parts.csv:SPLIT=tset"], Path("again"), WORKERS)


def test_the_training_set_is_wholly_in_itself_and_another_one_not_at_all(files):
    put(files, "other.smi", "FC(Cl)Br\nBrC(Br)I\n")
    found = compare("train.smi", ["train.smi", "other.smi"], Path("out"), WORKERS)
    one, other = found.content["benchmarks"]
    assert all(level["share"] == 1 for name, level in one["levels"].items() if name != "scaffold")
    assert one["similarity"]["above"]["0.9"]["value"] == 1
    assert all(level["rows"] == 0 for level in other["levels"].values())
    assert {row["benchmark"] for row in rows_of("out/clean.csv")} == {"other.smi"}
    assert any("100 %" in line for line in found.lines())


def test_a_sampled_benchmark_says_so_and_has_intervals(files):
    found = compare("train.smi", ["bench.csv"], Path("out"), Options(sample=4, workers=1))
    (of,) = found.content["benchmarks"]
    assert not of["similarity"]["exact"]
    assert of["similarity"]["molecules"] == 4
    assert of["similarity"]["above"]["0.9"]["low"] is not None
    assert any("random sample of 4 of 7" in note for note in found.content["notes"])
    assert {level: each["rows"] for level, each in of["levels"].items()}["parent"] == 6


def test_parts_of_a_corpus_are_compared_with_each_other(files):
    pairs = [f"{'C' * n}[C@{c}H](F)Cl" for n in range(2, 40) for c in ("", "@")]
    put(files, "pairs.smi", "\n".join(pairs) + "\n")
    corpus = build_corpus([files / "pairs.smi"], files / "pairs", validation_fraction=0.3, workers=1)
    found = compare("pairs", [], Path("out"), WORKERS)
    (of,) = found.content["benchmarks"]
    assert of["molecules"] == len(corpus.validation)
    assert of["levels"]["identical"]["rows"] == 0
    assert of["levels"]["connectivity"]["rows"] > 0.4 * len(corpus.validation)


def run_on(name, data_hash, family, config):
    """A run as training leaves it, on prepared data."""
    directory = write_run(Path("runs/s"), name)
    replace(RunRecord.load(directory), data_hash=data_hash, family=family, config=config).save(directory)


def test_a_run_stands_for_the_molecules_of_its_training(files):
    corpus = build_corpus([files / "train.smi"], files / "corpora/c", validation_fraction=0.1, workers=1)
    config = {"corpora": "corpora", "data": {"source": "smiles", "molecules": 5}}
    run_on("first", corpus.hash, "chemgpt", config)
    run_on("gone", "another", "chemgpt", config)
    found = compare("runs/s/first", ["train.smi"], Path("out"), WORKERS)
    assert found.content["training"]["molecules"] == 5
    assert found.content["benchmarks"][0]["levels"]["identical"]["rows"] == 5
    lowest = corpus.tokenizer.to_smiles(corpus.train.tokens(0).tolist())
    assert lowest in {row["training_smiles"] for row in rows_of("out/overlap.csv")}
    with pytest.raises(ValueError, match="the corpus that this run was trained on is not here"):
        compare("runs/s/gone", ["train.smi"], Path("again"), WORKERS)


def test_a_run_stands_for_the_frames_of_its_training(files):
    xyz("train.xyz", toy_blocks(20))
    source = open_sources([files / "train.xyz"], {})
    store = build_store(source, files / "structures/s", SplitPolicy(validation=0.2))
    data = {"source": "structures", "path": "train.xyz", "frames": 6}
    run_on("few", store.hash, "painn", {"structures": "structures", "data": data})
    found = compare("runs/s/few", ["train.xyz"], Path("out"), WORKERS)
    assert found.content["training"]["frames"] == 6
    assert found.content["benchmarks"][0]["levels"]["identical"]["frames"] == 6
    held_out = compare("structures/s", [], Path("parts"), WORKERS).content["benchmarks"]
    held = len(store.part("validation"))
    assert [(each["frames"], each["levels"]["identical"]["frames"]) for each in held_out] == [(held, 0)]
    assert held_out[0]["levels"]["molecule"]["frames"] == held


def xyz(path, blocks):
    lines = []
    for block in blocks:
        for positions, energy, forces in zip(block.positions, block.energies, block.forces, strict=True):
            lines += [str(len(block.numbers)), f"Properties=species:S:1:pos:R:3:forces:R:3 energy={energy}"]
            for z, x, f in zip(block.numbers, positions, forces, strict=True):
                lines.append(" ".join([chemical_symbols[z], *(f"{v:.8f}" for v in (*x, *f))]))
    Path(path).write_text("\n".join(lines) + "\n")


def test_frames_are_compared_by_the_same_command(files):
    blocks = toy_blocks(20)
    xyz("train.xyz", blocks)
    xyz("bench.xyz", [blocks[0].select(np.arange(3)), toy_blocks(4, seed=2)[1]])
    done = subprocess.run(
        [python(), "-m", "chemscale.overlap", "train.xyz", "bench.xyz", "--out", "out"],
        cwd=files, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 frames" in done.stdout
    assert "7 frames    100 %" in done.stdout
    listed = rows_of("out/overlap.csv")
    assert [row["level"] for row in listed] == [*["identical"] * 3, *["molecule"] * 4]
    assert [row["training_row"] for row in listed[:3]] == ["0", "1", "2"]
    assert len(rows_of("out/clean.csv")) == 4
    assert "nearest training frame" in (files / "out/overlap.html").read_text()


def test_folders_are_left_out_of_names_that_stay_apart_without():
    names = ["/a/b/test.csv", "validation part of corpora/zinc-1/", "moses", "x/same.smi", "y/same.smi"]
    expected = ["test.csv", "validation part of zinc-1", "moses", "x/same.smi", "y/same.smi"]
    assert short_names(names) == expected


def test_molecules_and_frames_are_not_compared(files):
    xyz("bench.xyz", toy_blocks(2))
    with pytest.raises(ValueError, match="not compared with structures"):
        compare("train.smi", ["bench.xyz"], Path("out"), WORKERS)


def test_a_name_that_means_nothing_lists_the_sets_that_there_are(files):
    with pytest.raises(FileNotFoundError, match=r"BENCHMARK=mosse: no such file.*moses"):
        compare("train.smi", ["mosse"], Path("out"), WORKERS)


def test_a_set_that_was_not_fetched_names_the_command(files):
    assert kind_of("moses", "BENCHMARK") == "molecules"
    assert kind_of("comp6", "BENCHMARK") == "structures"
    assert section_of("moses")["smiles_column"] == "SMILES"
    with pytest.raises(FileNotFoundError, match=r"chemscale\.fetch moses"):
        compare("train.smi", ["moses"], Path("out"), WORKERS)
