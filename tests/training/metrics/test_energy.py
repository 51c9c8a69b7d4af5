"""Joules are counted where they can be read, and absent where any part cannot."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from chemscale.analysis.records_to_points import point_of
from chemscale.records import Compute, State, find_records
from chemscale.training.metrics.energy import Energy, PackageCounter, energy_of
from chemscale.training.metrics.throughput import Meter

SPAN = 1000.0


@pytest.fixture
def powercap(tmp_path):
    """A kernel's tree of two packages, one with memory; a part of no interest beside."""
    for zone, name in (
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:0/intel-rapl:0:0", "dram"),
        ("intel-rapl:0/intel-rapl:0:1", "core"),
    ):
        folder = tmp_path / "powercap" / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
        (folder / "max_energy_range_uj").write_text(f"{SPAN * 1e6:.0f}\n")
        put(folder, 990.0)
    return tmp_path / "powercap"


def put(zone, joules):
    partial = zone / "energy_uj.part"
    partial.write_text(f"{joules % SPAN * 1e6:.0f}\n")
    partial.rename(zone / "energy_uj")


def spend(powercap, joules):
    for zone in (
        "intel-rapl:0",
        "intel-rapl:1",
        "intel-rapl:0/intel-rapl:0:0",
        "intel-rapl:0/intel-rapl:0:1",
    ):
        before = float((powercap / zone / "energy_uj").read_text()) / 1e6
        put(powercap / zone, before + joules)


def one_rank(values):
    return values


def test_packages_and_memory_are_added_up_and_what_happens_between_is_not(powercap):
    energy = Energy(PackageCounter(powercap))
    energy.resume()
    spend(powercap, 5)
    energy.pause()
    spend(powercap, 100)  # a validation
    energy.resume()
    spend(powercap, 3)
    energy.pause()
    assert energy.take() == pytest.approx(3 * 8)  # two packages and the memory of one, not the cores again


def test_a_counter_that_goes_round_is_followed(powercap):
    energy = Energy(PackageCounter(powercap))
    energy.resume()
    spend(powercap, 20)  # past its end at 1,000
    energy.pause()
    assert energy.take() == pytest.approx(60)


def test_one_rank_of_a_machine_counts_its_packages(powercap):
    energy = Energy(PackageCounter(powercap), counts=False)
    energy.resume()
    spend(powercap, 5)
    energy.pause()
    assert energy.take() == 0.0


def test_a_run_that_lacks_the_energy_of_any_part_has_none(powercap):
    energy, compute = Energy(PackageCounter(powercap)), Compute()
    for _ in range(2):
        energy.resume()
        spend(powercap, 1)
        energy.pause()
        assert energy.record_joules(compute, one_rank) == pytest.approx(3)
        compute.seconds += 1
    assert compute.joules == pytest.approx(6)
    assert "RAPL" in compute.joules_of

    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    energy.resume()
    energy.pause()
    assert energy.record_joules(compute, one_rank) is None
    assert compute.joules is None
    assert compute.joules_of == ""
    # Nor does it come back: what is missing stays missing.
    put(powercap / "intel-rapl:1", 5.0)
    assert Energy(PackageCounter(powercap)).record_joules(compute, one_rank) == 0.0
    assert compute.joules is None


def test_a_checkpoint_between_two_logs_holds_the_energy_and_the_time_until_then(powercap):
    energy, compute, meter = Energy(PackageCounter(powercap)), Compute(), Meter()
    for joules, seconds in (
        (1, 2.0),
        (4, 1.0),
        (0, 0.0),
    ):  # a checkpoint, a log, a checkpoint at the same step
        energy.resume()
        spend(powercap, joules)
        energy.pause()
        meter.seconds += seconds
        meter.record_time(compute, energy, one_rank, 1)
        assert compute.seconds == meter.seconds
        assert compute.joules == pytest.approx(meter.joules)
    assert compute.joules == pytest.approx(15)
    assert compute.device_seconds == 3.0


def test_the_energy_of_a_rank_that_cannot_read_it_makes_the_sum_unknown():
    compute = Compute()
    assert Energy().record_joules(compute, lambda values: [values[0] + 0.0, values[1] + 40.0]) is None
    assert compute.joules is None


def test_points_that_share_the_cpus_have_no_energy_of_their_own(powercap, monkeypatch):
    monkeypatch.setattr("chemscale.training.metrics.energy.RAPL", powercap)
    assert energy_of(torch.device("cpu"), local_rank=0, alone=True).name
    assert not energy_of(torch.device("cpu"), local_rank=0, alone=False).name


def run(folder, smiles_file, **environment):
    command = (
        f"{sys.executable} -m chemscale.train data=smiles data.path={smiles_file} "
        "model.layers=2 model.heads=4 model.width=8 budget.steps=40 batch.tokens=512 data.block=256 "
        "data.validation_fraction=0.1 data.prepare_workers=1 logger=jsonl trainer.accelerator=cpu "
        "trainer.log_every=4 trainer.threads=1"
    )
    done = subprocess.run(
        command.split(),
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    directory, record = next(iter(find_records(folder / "runs")))
    rows = [json.loads(line) for line in (directory / record.curve).read_text().splitlines()]
    return record, [row for row in rows if row["kind"] == "truth"], done.stderr


@pytest.mark.slow
def test_a_run_records_its_joules_where_they_are_readable_and_nothing_where_not(
    tmp_path, smiles_file, powercap
):
    stop = threading.Event()

    def burn():  # 90 W: 30 in each part
        while not stop.wait(0.02):
            spend(powercap, 0.6)

    thread = threading.Thread(target=burn)
    thread.start()
    began = time.monotonic()
    try:
        record, rows, said = run(tmp_path, smiles_file, CHEMSCALE_POWERCAP=str(powercap))
    finally:
        stop.set()
        thread.join()
    assert record.state is State.DONE
    assert 0 < record.compute.joules < 120 * (time.monotonic() - began)
    assert record.compute.joules == pytest.approx(record.truth["watts"] * record.compute.seconds, rel=1e-3)
    assert point_of(record, "nats_per_token").sizes["joules"] == record.compute.joules
    assert all("watts" in row for row in rows)
    assert " W" in said

    nowhere = tmp_path / "without"
    nowhere.mkdir()
    record, rows, said = run(nowhere, smiles_file, CHEMSCALE_POWERCAP=str(tmp_path / "absent"))
    assert record.compute.joules is None
    assert "joules" not in point_of(record, "nats_per_token").sizes
    assert not any("watts" in row for row in rows)
