"""A corpus is the same bytes however it is made, loses no row silently, and keeps its splits apart."""

import csv
import gzip
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from chemscale.common.progress import ProgressBar
from chemscale.molecules.corpus import Corpus, CorpusError
from chemscale.molecules.preparation import build as building
from chemscale.molecules.preparation import dropped, finishing, shards, stages
from chemscale.molecules.preparation.build import build_corpus, corpus_key
from chemscale.molecules.preparation.sources import reading
from chemscale.molecules.preparation.standardize import Policy, standardize
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer
from tests.helpers.paths import real_data


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def molecules(split, corpus) -> list[str]:
    return [
        standardize(corpus.tokenizer.to_smiles(split.tokens(i)), Policy()).smiles for i in range(len(split))
    ]


def test_any_number_of_workers_gives_the_same_bytes(smiles_file, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "CHUNK_ROWS", 64)
    one = build_corpus([smiles_file], tmp_path / "one", workers=1)
    two = build_corpus([smiles_file], tmp_path / "two", workers=2)
    assert contents(one.path) == contents(two.path)
    monkeypatch.setattr(building, "CHUNK_ROWS", 1000)
    whole = build_corpus([smiles_file], tmp_path / "whole", workers=1)
    assert contents(whole.path) == contents(one.path)


def test_the_order_of_rows_does_not_matter(corpus, smiles, tmp_path):
    shuffled = random.Random(0).sample(smiles, len(smiles))
    path = tmp_path / "molecules.smi"
    path.write_text("\n".join(shuffled))
    assert build_corpus([path], tmp_path / "c", workers=1, validation_fraction=0.1).hash == corpus.hash


def test_shards_hold_the_molecules(corpus, smiles):
    kept = molecules(corpus.train, corpus) + molecules(corpus.validation, corpus)
    assert sorted(kept) == sorted(smiles)


def test_every_row_is_kept_or_listed_with_its_reason(tmp_path):
    rows = [
        "CCO",
        "OCC",
        "nonsense",
        "C[*]",
        "CCN",
        "",
        "CCC",
        "CCCC",
        "CCCCC",
        "CCCCN",
        "CCCCO",
        "CCCCF",
    ] + ["CCS"] * 3
    path = tmp_path / "m.csv"
    path.write_text("smiles\n" + "\n".join(f'"{r}"' for r in rows))
    made = build_corpus([path], tmp_path / "c", workers=1, validation_fraction=0.3)
    counts = made.manifest["counts"]
    assert counts["rows"] == len(rows)
    assert counts["kept"] + sum(counts["dropped"].values()) == len(rows)
    with gzip.open(made.path / "dropped.csv.gz", "rt") as file:
        listed = [(int(r["row"]), r["reason"], r["smiles"]) for r in csv.DictReader(file)]
    assert listed == [
        (2, "duplicate", "CCO"),
        (3, "unparsable", "nonsense"),
        (4, "wildcard or query atom", "C[*]"),
        (6, "empty", ""),
        (14, "duplicate", "CCS"),
        (15, "duplicate", "CCS"),
    ]


def test_a_molecule_is_never_in_both_splits_however_it_is_written(tmp_path, smiles):
    twice = [*smiles, *(Chem.MolToSmiles(Chem.MolFromSmiles(s), doRandom=True) for s in smiles)]
    path = tmp_path / "twice.smi"
    path.write_text("\n".join(twice))
    made = build_corpus([path], tmp_path / "c", workers=1, validation_fraction=0.3)
    train, validation = set(molecules(made.train, made)), set(molecules(made.validation, made))
    assert not train & validation
    assert len(train) + len(validation) == len(smiles)


def test_subsets_are_nested(corpus):
    small, large = corpus.train.prefix(20), corpus.train.prefix(100)
    assert [small.tokens(i).tolist() for i in range(20)] == [large.tokens(i).tolist() for i in range(20)]
    with pytest.raises(CorpusError, match="999999"):
        corpus.train.prefix(999_999)


def test_gathering_crosses_shards(smiles_file, tmp_path, monkeypatch, corpus):
    monkeypatch.setattr(shards, "SHARD_TOKENS", 700)
    made = build_corpus([smiles_file], tmp_path / "c", workers=1, validation_fraction=0.1)
    assert sum(s["part"] == "tokens" and s["split"] == "train" for s in made.manifest["shards"]) > 2
    chosen = np.array([0, len(made.train) - 1, 7, 200])
    tokens, lengths = made.train.gather(chosen)
    expected, expected_lengths = corpus.train.gather(chosen)
    assert tokens.tolist() == expected.tolist()
    assert lengths.tolist() == expected_lengths.tolist()
    assert tokens.tolist() == list(itertools.chain(*(made.train.tokens(i).tolist() for i in chosen)))


def test_a_complete_corpus_is_opened_and_another_is_never_overwritten(smiles_file, tmp_path):
    first = build_corpus([smiles_file], tmp_path / "c", workers=1)
    before = (tmp_path / "c" / "manifest.json").stat().st_mtime_ns
    assert build_corpus([smiles_file], tmp_path / "c", workers=1).hash == first.hash
    assert (tmp_path / "c" / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(CorpusError, match="another corpus"):
        build_corpus([smiles_file], tmp_path / "c", workers=1, policy=Policy(stereo="strip"))


def test_policies_and_inputs_make_the_key(smiles_file, tmp_path):
    other = tmp_path / "other.smi"
    other.write_text(smiles_file.read_text() + "CCCCCCCCC\n")
    keys = {
        corpus_key([smiles_file]),
        corpus_key([other]),
        corpus_key([smiles_file], policy=Policy(salts="largest")),
        corpus_key([smiles_file], validation_fraction=0.5),
    }
    assert len(keys) == 4


def test_a_given_vocabulary_is_kept_to(smiles_file, tmp_path, corpus):
    vocabulary = SelfiesTokenizer.from_symbols(set(corpus.tokenizer.symbols) - {"[S]"}, stereo=True)
    made = build_corpus([smiles_file], tmp_path / "c", workers=1, tokenizer=vocabulary)
    assert made.tokenizer == vocabulary
    dropped = made.manifest["counts"]["dropped"]
    assert dropped["symbol outside the given vocabulary"] > 0
    assert made.manifest["counts"]["kept"] + sum(dropped.values()) == 400


def test_damage_is_found(smiles_file, tmp_path):
    made = build_corpus([smiles_file], tmp_path / "c", workers=1)
    shard = made.path / "train-tokens-00000.bin"
    data = bytearray(shard.read_bytes())
    data[10] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorpusError, match=r"train-tokens-00000\.bin"):
        Corpus.open(made.path).verify()
    shard.write_bytes(data[:-2])
    with pytest.raises(CorpusError, match="cut short"):
        Corpus.open(made.path)


def test_another_vocabulary_beside_the_shards_is_refused(smiles_file, tmp_path):
    made = build_corpus([smiles_file], tmp_path / "c", workers=1)
    symbols = [symbol.replace("[S]", "[Se]") for symbol in made.tokenizer.symbols]
    SelfiesTokenizer.from_symbols(symbols, stereo=True).save(made.path)
    with pytest.raises(CorpusError, match="not the one of these shards"):
        Corpus.open(made.path)


def test_too_few_molecules_are_refused_with_the_reasons(tmp_path):
    path = tmp_path / "one.smi"
    path.write_text("CCO\nOCC\n")
    with pytest.raises(CorpusError, match="1 duplicate"):
        build_corpus([path], tmp_path / "c", workers=1)


def test_a_killed_build_is_taken_up_and_gives_the_same_bytes(smiles_file, tmp_path, monkeypatch):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from chemscale.molecules.preparation import build as building, stages\n"
        "building.CHUNK_ROWS = 50\n"
        "slow = building.standardize_chunk\n"
        "def crawl(chunk): time.sleep(0.3); return slow(chunk)\n"
        "building.standardize_chunk = crawl\n"
        "building.build_corpus([Path(sys.argv[1])], Path(sys.argv[2]), workers=1)\n"
    )
    target = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", code, str(smiles_file), str(target)])
    deadline = time.monotonic() + 60
    while len(list(target.glob(".build/part-*.npy"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(CorpusError, match="no complete corpus"):
        Corpus.open(target)
    left = sum(1 for _ in target.glob(".build/part-*.npy"))
    assert left >= 3
    monkeypatch.setattr(building, "CHUNK_ROWS", 50)
    worked = []
    original = stages.standardize
    monkeypatch.setattr(stages, "standardize", lambda *a: worked.append(1) or original(*a))
    again = build_corpus([smiles_file], target, workers=1)
    assert len(worked) == len(smiles_file.read_text().splitlines()) - 50 * left
    whole = build_corpus([smiles_file], tmp_path / "whole", workers=1)
    assert contents(again.path) == contents(whole.path)


def test_chunks_grow_and_many_files_of_dropped_rows_are_merged_step_by_step(smiles, tmp_path, monkeypatch):
    path = tmp_path / "molecules.smi"
    path.write_text("".join(f"{text}\n{text}\nC1C\n" for text in smiles))
    plain = build_corpus([path], tmp_path / "plain", workers=1)
    monkeypatch.setattr(building, "CHUNK_ROWS", 20)
    monkeypatch.setattr(reading, "DOUBLED_EVERY", 2)
    monkeypatch.setattr(building, "BUCKET_BYTES", 1024)
    monkeypatch.setattr(dropped, "MAX_OPEN", 3)
    seen = []
    original = building.standardize_chunk
    monkeypatch.setattr(building, "standardize_chunk", lambda c: seen.append(original(c)) or seen[-1])
    many = build_corpus([path], tmp_path / "many", workers=1)
    assert seen[:7] == [20, 20, 40, 40, 80, 80, 160]
    assert max(seen) <= 20 * building.CHUNK_GROWTH
    assert contents(many.path) == contents(plain.path)


def test_what_takes_minutes_of_a_large_corpus_shows_its_progress(smiles, tmp_path, monkeypatch):
    path = tmp_path / "molecules.smi"
    path.write_text("".join(f"{text}\n" for text in [*smiles[:60], *smiles[:60], "C1C"]))
    shown, update = {}, ProgressBar.update
    monkeypatch.setattr(dropped, "SHOWN_EVERY", 1)
    monkeypatch.setattr(
        ProgressBar, "update", lambda bar, *a: shown.update({bar.title: a[0]}) or update(bar, *a)
    )
    build_corpus([path], tmp_path / "c", workers=1, validation_fraction=0.3).verify()
    assert shown["dropped rows"] == 61
    assert shown["hashes of train"] == shown["hashes of validation"] == 3
    assert shown["verify"] == 6


def test_rows_of_a_file_whose_name_is_no_utf8_are_dropped_under_a_name_that_is(tmp_path):
    path = tmp_path / os.fsdecode(b"m\xfcll.smi")
    path.write_text("CCO\nCCC\nC1C\n")
    made = build_corpus([path], tmp_path / "c", workers=1)
    with gzip.open(made.path / "dropped.csv.gz", "rt", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["file"], row["line"]) == (r"m\udcfcll.smi", "3")


def test_encoded_buckets_are_not_encoded_again(smiles_file, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(finishing, "write_dropped_table", stop)
        with pytest.raises(KeyboardInterrupt):
            build_corpus([smiles_file], tmp_path / "c", workers=1)
    with monkeypatch.context() as patched:
        patched.setattr(stages, "symbols_of", stop)
        patched.setattr(stages, "standardize", stop)
        again = build_corpus([smiles_file], tmp_path / "c", workers=1)
    assert contents(again.path) == contents(build_corpus([smiles_file], tmp_path / "whole", workers=1).path)


def test_real_molecules_pass_or_are_listed(tmp_path):
    with gzip.open(real_data("molecules/pubchem_a.smi.gz"), "rt") as file:
        rows = [line.split()[0] for line in itertools.islice(file, 1000)]
    path = tmp_path / "pubchem.smi"
    path.write_text("\n".join(rows))
    made = build_corpus([path], tmp_path / "c", workers=1)
    counts = made.manifest["counts"]
    assert counts["rows"] == 1000
    assert counts["kept"] + sum(counts["dropped"].values()) == 1000
    assert counts["kept"] > 950
    kept = set(molecules(made.train, made))
    assert len(
        kept & {s.smiles for r in rows if hasattr(s := standardize(r, Policy()), "smiles")}
    ) > 0.99 * len(kept)
