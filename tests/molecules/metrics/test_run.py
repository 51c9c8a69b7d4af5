"""Generated molecules in a file are judged as moses and guacamol judge them, once, and shown on one page."""

import json
import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from chemscale.molecules.metrics import fcd, known
from chemscale.molecules.metrics.novelty.index import IndexBuildError
from chemscale.molecules.metrics.result import METRICS_FILE
from chemscale.molecules.metrics.run import evaluate_molecules
from chemscale.molecules.metrics.sampled.files import SamplesError
from chemscale.molecules.preparation.sources import SourceError
from tests.helpers.molecule_files import put

KEPT = json.loads((Path(__file__).parent / "moses_guacamol.json").read_text())
"""Two lists, and what moses 0.3.1, guacamol 0.5.5 and fcd 1.2.2 say (benchmarks/moses_guacamol.py)."""


def judged(folder, name="sample.smi", **options):
    options = {"workers": 1, "progress": False, "bootstrap": 20, "fcd": False} | options
    return evaluate_molecules(folder / name, reference=folder / "reference.smi", **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("judged")
    for name in ("sample", "reference"):
        put(made, f"{name}.smi", "\n".join(KEPT[name]) + "\n")
    return made


@pytest.fixture(scope="module")
def whole(folder):
    """All metrics of the two lists."""
    return judged(folder, fcd=fcd.is_installed(), out=folder / "whole")


@pytest.mark.parametrize("name", KEPT["values"])
def test_a_metric_is_that_of_moses_and_guacamol(whole, name):
    if name == "fcd" and name not in whole.values:
        pytest.skip("fcd is not installed")
    assert whole.values[name].value == pytest.approx(KEPT["values"][name], rel=1e-6, abs=1e-7)


def test_every_value_lies_in_its_interval_and_says_of_how_many_molecules_it_is(whole):
    for name, value in whole.values.items():
        assert value.of > 0, name
        if not math.isnan(value.low):
            assert value.low <= value.value <= value.high, name
    assert math.isnan(whole.values["guacamol_kl"].low)


def test_what_the_reference_itself_reaches_stands_beside(whole):
    assert whole.own["wasserstein_weight"].value < whole.values["wasserstein_weight"].value
    assert "valid" not in whole.own


def test_a_file_that_hides_how_it_was_written_says_nothing_of_truncated_molecules(whole):
    assert "truncated" not in whole.values
    assert whole.fates == {}
    assert any("does not say how its molecules were written" in note for note in whole.notes)


def test_the_page_stands_alone_and_draws_molecules(whole):
    page = whole.page.read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert page.count("data:image/svg+xml;base64,") >= 30
    assert page.count('class="sample"') == page.count('class="reference"') >= 6
    assert "C1CC" in page  # an example of what is no molecule


def test_numbers_that_do_not_exist_are_null_and_never_zero(whole):
    content = json.loads((whole.folder / METRICS_FILE).read_text())
    assert content["metrics"]["guacamol_kl"]["low"] is None
    assert content["valid"] + sum(each["count"] for each in content["refusals"]) == content["sequences"]


def test_the_same_call_again_only_reads_and_another_one_is_refused(folder, whole, monkeypatch):
    monkeypatch.setattr("chemscale.molecules.metrics.run.judge", None)
    again = judged(folder, fcd=fcd.is_installed(), out=folder / "whole")
    assert again.values.keys() == whole.values.keys()
    assert again.lines() == whole.lines()
    with pytest.raises(SamplesError, match=r"holds another evaluation \(draws differ"):
        judged(folder, n=10, fcd=fcd.is_installed(), out=folder / "whole")
    (folder / "whole" / METRICS_FILE).write_text("{")
    with pytest.raises(SamplesError, match="damaged"):
        judged(folder, out=folder / "whole")


def test_a_folder_of_other_things_is_not_written_to(folder, tmp_path):
    put(tmp_path, "mine/notes.txt", "mine")
    with pytest.raises(SamplesError, match="is no evaluation"):
        judged(folder, out=tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_without_a_reference_only_the_sample_is_described(folder, tmp_path):
    found = evaluate_molecules(folder / "sample.smi", n=20, out=tmp_path / "o", workers=1, fcd=False)
    assert {"valid", "unique", "internal_diversity"} <= found.values.keys()
    assert not {"snn", "novel", "wasserstein_QED"} & found.values.keys()
    assert found.notes[-1].startswith("No reference")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("xx\nyy\n", "this does not look like a file of SMILES"),
        ("a,b\nxx,1\nyy,2\n", "this does not look like a file of SMILES"),
        ("", "the file is empty"),
        ("name,score\nanna,1\n", "column"),
    ],
)
def test_a_file_without_molecules_is_refused_in_one_paragraph(folder, tmp_path, content, problem):
    file = put(tmp_path, "bad.csv", content)
    with pytest.raises(SourceError, match=problem) as refusal:
        evaluate_molecules(file, reference=folder / "reference.smi", workers=1)
    assert "bad.csv" in str(refusal.value)


def test_what_is_called_smiles_and_holds_none_is_judged_and_gives_the_reasons(tmp_path):
    file = put(tmp_path, "bad.csv", "SMILES,score\nC1CC,1\nxx,2\n")
    with pytest.raises(SamplesError, match=r"no valid molecule to judge \(2 unparsable"):
        evaluate_molecules(file, workers=1)


def test_a_reference_without_a_column_of_molecules_is_told_by_its_own_option(folder, tmp_path):
    file = put(tmp_path, "names.csv", "name,score\nanna,1\nbob,2\n")
    with pytest.raises(SourceError, match=r"names\.csv: .*--reference-column"):
        evaluate_molecules(folder / "sample.smi", reference=file, workers=1, out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_a_source_or_a_reference_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(SamplesError, match=r"gone\.csv: no such file"):
        evaluate_molecules(tmp_path / "gone.csv", workers=1)
    with pytest.raises(IndexBuildError, match=r"gone\.smi: no such file"):
        evaluate_molecules(folder / "sample.smi", reference=tmp_path / "gone.smi", workers=1)


def test_fcd_without_its_package_says_what_to_install(folder, monkeypatch):
    monkeypatch.setattr(fcd, "is_installed", lambda: False)
    with pytest.raises(fcd.FCDError, match=r"pip install 'chemscale\[fcd\]'"):
        judged(folder, fcd=True)


def test_an_evaluation_that_was_killed_before_its_end_is_made_by_the_same_call(folder, tmp_path):
    def call(name):
        return evaluate_molecules(
            folder / "sample.smi", n=12, out=tmp_path / name, workers=1, fcd=False, progress=False
        )

    first = call("first")
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    (tmp_path / "second" / METRICS_FILE).unlink()
    assert call("second").values == first.values


@pytest.mark.parametrize("which", ["sample", "reference"])
def test_molecules_that_differ_by_marks_of_stereo_alone_are_told(tmp_path, which):
    flat = [f"CC(N){'C' * n}O" for n in range(1, 9)]
    marked = [text.replace("C(N)", "[C@H](N)", 1) for text in flat]
    sample, reference = (flat, marked) if which == "sample" else (marked, flat)
    put(tmp_path, "sample.smi", "\n".join(sample) + "\n")
    put(tmp_path, "reference.smi", "\n".join(reference) + "\n")
    found = judged(tmp_path, out=tmp_path / "o")
    assert found.values["novel"].value == 1.0
    assert any(f"The {which} has no stereo" in note for note in found.notes)
    alike = judged(tmp_path, "reference.smi", out=tmp_path / "alike")
    assert not any("stereo" in note for note in alike.notes)


def test_novelty_of_a_fine_tuned_run_says_whose_data_it_leaves_out(tmp_path, monkeypatch):
    record = SimpleNamespace(parent={"name": "zinc-w64"})
    monkeypatch.setattr(known.RunRecord, "load", lambda path: record)
    monkeypatch.setattr(known, "corpus_of", lambda run: (tmp_path / "corpus", None))
    of_run = known.Known.of(tmp_path, None, None, None)
    assert of_run.parent == "zinc-w64"
    assert known.Known.of(tmp_path, None, tmp_path / "both.smi", None).parent == ""
    monkeypatch.setattr(known.Known, "of", lambda *_: known.Known(parent="zinc-w64"))
    put(tmp_path, "sample.smi", "CCO\nCCN\n")
    found = evaluate_molecules(
        tmp_path / "sample.smi", out=tmp_path / "o", workers=1, fcd=False, progress=False
    )
    assert any("what zinc-w64 was trained on is not counted" in note for note in found.notes)
