"""A model of conditions through the commands: trained, stopped, continued, asked."""

import signal

import pytest

from chemscale.molecules.corpus import Corpus
from chemscale.records import find_records
from tests.helpers.preloaded import python
from tests.helpers.runs import assert_same_run, finish, start, train, wait_for_step


@pytest.mark.slow
def test_a_stopped_run_leaves_out_the_same_conditions_and_is_asked_for_molecules(tmp_path, smiles_file):
    arguments = [
        "model.width=16",
        "budget.steps=200",
        "data.condition=[rings,scaffold]",
        "data.condition_bins=3",
    ]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    assert "condition rings (computed by RDKit)" in finish(train(whole, smiles_file, *arguments))
    process = train(cut, smiles_file, *arguments)
    wait_for_step(cut, 30)
    process.send_signal(signal.SIGTERM)
    finish(process, status=130)
    assert "continues at step" in finish(train(cut, smiles_file, *arguments))
    directory, record = next(find_records(whole / "runs"))
    assert_same_run(directory, next(find_records(cut / "runs"))[0])

    (corpus,) = (Corpus.open(path) for path in (whole / "corpora").iterdir() if path.is_dir())
    assert record.name.endswith("-given-rings-scaffold")
    assert record.data.unique_tokens == int(corpus.train.lengths.sum()) + len(corpus.train)
    assert record.data.epochs == pytest.approx(record.data.tokens / record.data.unique_tokens)
    assert 5 < record.truth["padding_percent"] < 35  # scaffolds that are left out leave their room

    command = [python(), "-m", "chemscale.generate", str(directory), "--n", "10", "--max-length", "40"]
    said = finish(start(whole, [*command, "--condition", "rings=2", "--condition", "scaffold=C1=CC=CC=C1"]))
    assert "rings=2 asks for" in said
    assert "scaffold=c1ccccc1" in said
    assert "achieved   scaffold=c1ccccc1" in said
    refused = finish(start(whole, [*command, "--condition", "logP=2"]), status=2)
    assert "trained with conditions on rings, scaffold, not on logP" in refused
