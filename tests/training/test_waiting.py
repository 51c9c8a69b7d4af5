"""Between two logs the host waits neither for a device nor for other ranks, and does not read counters."""

from collections import Counter
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch.overrides import TorchFunctionMode

from chemscale.points.run import fit, open_record
from chemscale.records import RunRecord, State
from chemscale.tasks.base import Task
from chemscale.tasks.device_values import read_rows, read_values
from chemscale.training.distributed.control import Meetings
from chemscale.training.distributed.ranks import Ranks
from chemscale.training.metrics.energy import Energy
from tests.helpers.points import STEPS, point_in, potential_in
from tests.helpers.sickness import Poison, Weights, batches_of, losses

READS = ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy")


class Reads(TorchFunctionMode):
    """Counts what makes the host wait for a device, by the optimizer steps done."""

    def __init__(self):
        super().__init__()
        self.trainer, self.at = None, Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if self.trainer is not None and getattr(function, "__name__", "") in READS:
            self.at[self.trainer.global_step] += 1
        return function(*args, **(kwargs or {}))


class Watched(pl.Callback):
    """From the moment that a batch is on its device: what builds and moves it reads its own numbers."""

    def __init__(self, reads):
        self.reads = reads

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if hasattr(batch, "documents"):
            _ = batch.documents.rectangles  # a batch that is moved has them
        self.reads.trainer = trainer

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.reads.trainer = None


@pytest.fixture
def on_device(monkeypatch):
    """Steps are left out as on a GPU: by the optimizer's kernel."""
    monkeypatch.setattr(Task, "decides_on_device", lambda self, optimizer: True)


@pytest.mark.parametrize("task", ["language", "potential"])
def test_nothing_is_read_from_a_device_but_at_logs_validations_and_checkpoints(
    tmp_path, smiles_file, on_device, task
):
    every = ("trainer.log_every=10", "trainer.checkpoint_steps=20", "trainer.validate_every=20")
    language = task == "language"
    point = point_in(tmp_path, smiles_file, *every) if language else potential_in(tmp_path, *every)
    record = open_record(point, [])
    with Reads() as reads:
        fit(point, record, extra=[Watched(reads)])
    assert record.state is State.DONE
    reads.at.pop(0, None)  # the first step: what begins
    assert set(reads.at) <= set(range(10, STEPS + 1, 10))
    assert len(reads.at) >= STEPS // 10


def test_a_step_that_the_optimizers_kernel_leaves_out_is_one_that_had_no_gradient(
    tmp_path, smiles_file, monkeypatch
):
    """The same weights after every step, and the same counts, whoever decides."""
    runs = []
    for place in ("host", "device"):
        monkeypatch.setattr(Task, "decides_on_device", lambda self, optimizer, place=place: place == "device")
        point = point_in(tmp_path / place, smiles_file, "trainer.log_every=10")
        weights, record = Weights(), open_record(point, [])
        fit(point, record, extra=[Poison(batches_of(point, {0, 12, 13, 20})), weights])
        runs.append((weights.seen, RunRecord.load(point.directory).skipped_steps, losses(point.directory)))
    (host, *of_host), (device, *of_device) = runs
    assert all(torch.equal(a, b) for a, b in zip(host, device, strict=True))
    assert of_host == of_device
    assert of_device[0] == 4
    assert [row.get("left_out", 0) for row in of_device[1].values()] == [1, 2, 1, 0]


def test_values_are_read_as_they_are_whatever_their_type_and_place_in_a_row():
    third = torch.tensor(1 / 3)
    rows = [(third, 2**40 + 1), (torch.tensor(2**40 + 1), torch.tensor([True])), ()]
    assert read_rows(rows) == [[float(third), 2.0**40 + 1], [2.0**40 + 1, 1.0], []]
    assert read_values([]) == []


def test_ranks_meet_by_the_clock_of_the_first_and_one_alone_at_every_step(monkeypatch):
    now = SimpleNamespace(at=0.0)
    monkeypatch.setattr("chemscale.training.distributed.control.time.monotonic", lambda: now.at)
    ranks = [Meetings(Ranks(rank=rank, world=2, per_node=2)) for rank in range(2)]
    met = []
    for step in range(1, 400):
        now.at += 0.01 if step < 300 else 4.0  # the last ones are slow
        due = {each.due(step) for each in ranks}
        assert len(due) == 1
        if due.pop():
            met.append(step)
            ahead = sum(each.proposal(step) for each in ranks)
            for each in ranks:
                each.agreed(step, ahead)
    assert met[:2] == [1, 51]
    assert met[-5:] == [395, 396, 397, 398, 399]
    alone = Meetings(Ranks())
    alone.agreed(1, alone.proposal(1))
    assert alone.due(2)


def test_ranks_of_a_run_that_goes_on_meet_by_how_fast_it_is_now(monkeypatch):
    now = SimpleNamespace(at=0.0)
    monkeypatch.setattr("chemscale.training.distributed.control.time.monotonic", lambda: now.at)
    meetings = Meetings(Ranks(rank=0, world=2, per_node=2))
    now.at += 20.0  # what begins takes time
    meetings.start(100_000)
    now.at += 1.0
    assert meetings.due(100_001)
    meetings.agreed(100_001, meetings.proposal(100_001))
    assert meetings.due(100_002)


class Joules:
    """A counter that says how often it was read."""

    name, reads = "test", 0

    def __init__(self, span=None):
        self.of = span

    def joules(self):
        self.reads += 1
        return [7.0 * self.reads]

    def span(self, part):
        return self.of


def test_a_counter_of_energy_is_read_where_training_pauses_and_not_at_every_step():
    counter = Joules()
    energy = Energy(counter)
    for _ in range(10):
        energy.resume()
    assert counter.reads == 1
    energy.pause()
    energy.pause()
    assert counter.reads == 2
    assert energy.take() == 7.0


def test_a_counter_that_goes_round_is_read_in_time(monkeypatch):
    now = SimpleNamespace(at=0.0)
    monkeypatch.setattr("chemscale.training.metrics.energy.time.monotonic", lambda: now.at)
    energy = Energy(Joules(span=60_000.0))  # a minute at most
    for _ in range(100):
        energy.resume()
        now.at += 5.0
    energy.pause()
    assert energy.take() == pytest.approx(7.0 * 17)  # every 30 s
