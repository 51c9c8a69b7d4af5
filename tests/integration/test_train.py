"""The main job, run for real: a sweep, what it leaves, and what becomes of it when something goes wrong."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from chemscale.records import RunRecord, State, find_records
from chemscale.training.locks import point_lock
from tests.helpers.preloaded import python
from tests.helpers.runs import assert_same_run, finish, train, wait_for_step


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, smiles_file):
    """Three sizes, trained once for this module."""
    folder = tmp_path_factory.mktemp("sweep")
    output = finish(train(folder, smiles_file, "model.width=8,16,32", "budget.steps=40"))
    return folder, output


def test_a_sweep_starts_without_a_flag_and_ends_with_a_law_and_a_report(sweep):
    folder, output = sweep
    records = [record for _, record in find_records(folder / "runs")]
    assert [r.state for r in records] == [State.DONE] * 3
    assert "α·x^(−β): α = " in output
    assert (folder / "runs" / "chemgpt_sizes" / "law" / "report.html").exists()
    law = json.loads((folder / "runs" / "chemgpt_sizes" / "law" / "law.json").read_text())
    assert law["intervals"]["beta"]
    assert "+sweep=chemgpt_sizes" in law["command"]


def test_records_say_what_was_trained_and_what_it_cost(sweep):
    folder, _ = sweep
    for directory, record in find_records(folder / "runs"):
        width = record.config["model"]["width"]
        assert record.parameters.matrices == 12 * 2 * width**2
        assert record.data.steps == record.planned_steps == 40
        assert record.data.epochs == pytest.approx(record.data.tokens / record.data.unique_tokens)
        assert record.compute.flops > 3 * 2 * record.parameters.matrices * record.data.tokens
        assert record.final.step == 40
        assert record.final.values["nats_per_molecule"] > record.final.values["nats_per_token"]
        assert {"tokens_per_second", "padding_percent", "data_wait_percent"} <= set(record.truth)
        assert record.truth["padding_percent"] < 5
        assert [r["step"] for r in record.curve_rows(directory) if r["kind"] == "validation"] == [
            8,
            16,
            24,
            32,
            40,
        ]


def test_the_same_command_again_trains_nothing(sweep, smiles_file):
    folder, _ = sweep
    before = {d: r.updated for d, r in find_records(folder / "runs")}
    output = finish(train(folder, smiles_file, "model.width=8,16,32", "budget.steps=40"))
    assert {d: r.updated for d, r in find_records(folder / "runs")} == before
    assert "α·x^(−β)" in output


def test_molecules_are_generated_and_counted(sweep):
    folder, _ = sweep
    run = next(d for d, r in find_records(folder / "runs") if r.config["model"]["width"] == 32)
    command = [python(), "-m", "chemscale.generate", str(run), "--n", "50", "--max-length", "60"]
    done = subprocess.run(
        [*command, "--out", "m.csv"], cwd=folder, capture_output=True, text=True, check=True
    )
    with (folder / "m.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 50
    valid = sum(row["valid"] == "1" for row in rows)
    assert f"valid      {valid} of 50" in done.stdout
    again = subprocess.run(
        [*command, "--out", "m.csv"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert again.returncode == 2
    assert "m.csv exists" in again.stderr


def test_transformers_generates_from_the_saved_folder(sweep):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, _ = sweep
    run = next(d for d, _ in find_records(folder / "runs"))
    model = AutoModelForCausalLM.from_pretrained(run / "model")
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    torch.manual_seed(0)
    out = model.generate(torch.tensor([[tokenizer.bos_token_id]] * 3), max_length=30)
    texts = tokenizer.batch_decode(out, skip_special_tokens=True)
    assert all(text.startswith("[") and " " not in text for text in texts)


def test_a_failing_point_is_recorded_and_does_not_lose_the_others(tmp_path, smiles_file):
    blocked = finish(train(tmp_path, smiles_file, "model.width=8", "budget.steps=8", "sweep_name=probe"))
    assert "chemgpt-w8" in blocked
    identity = next(r.identity for _, r in find_records(tmp_path / "runs"))
    # Where the metrics should go lies a folder: this point cannot write, and only this one.
    (tmp_path / "runs" / "chemgpt_sizes" / identity / "metrics.jsonl").mkdir(parents=True)
    output = finish(train(tmp_path, smiles_file, "model.width=8,16", "budget.steps=8"), status=1)
    states = {r.config["model"]["width"]: r for _, r in find_records(tmp_path / "runs" / "chemgpt_sizes")}
    assert states[8].state is State.FAILED
    assert "metrics.jsonl" in states[8].reason
    assert states[16].state is State.DONE
    assert "1 of 2 points did not end well" in output


def test_a_point_that_another_process_trains_is_named_and_the_others_are_trained(tmp_path, smiles_file):
    finish(train(tmp_path, smiles_file, "model.width=8", "budget.steps=8", "sweep_name=probe"))
    identity = next(r.identity for _, r in find_records(tmp_path / "runs"))
    with point_lock(tmp_path / "runs" / "chemgpt_sizes" / identity):
        output = finish(train(tmp_path, smiles_file, "model.width=8,16", "budget.steps=8"), status=1)
    assert f"{identity} is being trained by another process (pid {os.getpid()} on " in output
    (record,) = (r for _, r in find_records(tmp_path / "runs" / "chemgpt_sizes"))
    assert (record.config["model"]["width"], record.state) == (16, State.DONE)


@pytest.mark.slow
def test_an_interrupted_point_saves_itself_and_continues_to_the_same_numbers(tmp_path, smiles_file):
    arguments = ["model.width=16", "budget.steps=400", "batch.accumulate=2"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    finish(train(whole, smiles_file, *arguments))
    process = train(cut, smiles_file, *arguments)
    wait_for_step(cut, 60)
    process.send_signal(signal.SIGTERM)
    finish(process, status=130)
    directory, record = next(find_records(cut / "runs"))
    assert record.state is State.PREEMPTED
    assert "SIGTERM at step" in record.reason
    assert "continues at step" in finish(train(cut, smiles_file, *arguments))
    assert_same_run(next(find_records(whole / "runs"))[0], directory)


@pytest.mark.slow
def test_killed_at_random_moments_a_point_ends_bit_identical(tmp_path, smiles_file):
    arguments = ["model.width=16", "budget.steps=900", "trainer.checkpoint_steps=37"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    finish(train(whole, smiles_file, *arguments))
    moments = sorted(random.Random(0).sample(range(30, 800), 3))
    for moment in moments:
        process = train(cut, smiles_file, *arguments, interpreter=sys.executable)
        wait_for_step(cut, moment)
        time.sleep(random.Random(moment).random() / 5)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    directory, record = next(find_records(cut / "runs"))
    assert record.state is State.RUNNING
    finish(train(cut, smiles_file, *arguments))
    assert RunRecord.load(directory).attempts == 4
    assert_same_run(next(find_records(whole / "runs"))[0], directory)
