"""Which rank a process is, on which GPU, and over which interface it reaches the others."""

import socket

import pytest
import torch

from chemscale.training.distributed import interfaces
from chemscale.training.distributed.ranks import Ranks, WorldError, environment, take_gpu, this_rank


@pytest.fixture
def eight_tasks(monkeypatch):
    """This process is task 5 of 8 on one node."""
    for name, value in {
        "SUBMITIT_EXECUTOR": "local",
        "SUBMITIT_LOCAL_JOB_ID": "1",
        "SUBMITIT_LOCAL_NTASKS": "8",
        "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
        "SUBMITIT_LOCAL_NODEID": "0",
        "SUBMITIT_LOCAL_GLOBALID": "5",
        "SUBMITIT_LOCAL_LOCALID": "5",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def gpus(monkeypatch):
    """Let torch see so many GPUs; returns the calls that chose one and limited its memory."""
    calls: list[tuple[str, float]] = []

    def show(count: int) -> list[tuple[str, float]]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", lambda index: calls.append(("device", index)))
        monkeypatch.setattr(
            torch.cuda, "set_per_process_memory_fraction", lambda part: calls.append(("memory", part))
        )
        return calls

    return show


def test_ranks_that_see_one_gpu_each_are_alone_on_nodes_of_their_own(eight_tasks, gpus):
    gpus(1)
    assert this_rank() == Ranks(rank=5, world=8, node=5, nodes=8)


def test_cpu_ranks_share_a_node_however_many_gpus_it_has(eight_tasks, gpus):
    gpus(1)
    assert this_rank("cpu") == Ranks(rank=5, world=8, local_rank=5, per_node=8)
    assert environment("cpu").local_rank() == 5


def test_a_rank_takes_the_gpu_of_its_place(eight_tasks, gpus):
    calls = gpus(8)
    take_gpu(this_rank(), "auto")
    assert calls == [("device", 5)]


def test_a_cpu_rank_takes_no_gpu(eight_tasks, gpus):
    calls = gpus(8)
    take_gpu(this_rank("cpu"), "cpu")
    assert calls == []


def test_a_rank_that_sees_some_of_its_nodes_gpus_is_refused_with_the_way_out(eight_tasks, gpus):
    gpus(4)
    with pytest.raises(WorldError, match=r"Rank 5 of 8 .* sees 4 GPUs.*--gpu-bind=none"):
        take_gpu(this_rank(), "auto")


def test_a_point_that_shares_a_gpu_takes_its_part_of_the_memory(gpus):
    calls = gpus(1)
    take_gpu(Ranks(), "auto", share=4)
    assert calls == [("device", 0), ("memory", 0.25)]


# --- interfaces ---


@pytest.fixture
def resolves(monkeypatch):
    """Let this machine's name resolve to an address, and the way to rank 0 begin at another."""

    def to(own_name: str, towards: str | None, interface: str | None = "eth7") -> None:
        monkeypatch.setenv(interfaces.VARIABLE, "")  # so that what is chosen below is undone
        monkeypatch.delenv(interfaces.VARIABLE)
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, port: [(2, 1, 6, "", (own_name, 0))])
        monkeypatch.setattr(interfaces, "address_towards", lambda host: towards)
        monkeypatch.setattr(interfaces, "interface_of", lambda address: interface)

    return to


@pytest.mark.parametrize(
    ("own_name", "towards", "chosen"),
    [
        ("127.0.1.1", "10.0.0.7", "eth7"),  # as Debian names itself
        ("10.0.0.7", "10.0.0.7", None),  # gloo finds it by itself
        ("127.0.1.1", "127.0.0.1", None),  # all ranks are here
        ("127.0.1.1", None, None),  # no way there: gloo says so
    ],
)
def test_gloo_is_led_to_rank_0_where_a_machine_calls_itself_loopback(resolves, own_name, towards, chosen):
    resolves(own_name, towards)
    interfaces.choose_gloo_interface("node0")
    assert interfaces.os.environ.get(interfaces.VARIABLE) == chosen


def test_what_a_person_set_is_left_alone(monkeypatch, resolves):
    resolves("127.0.1.1", "10.0.0.7")
    monkeypatch.setenv(interfaces.VARIABLE, "ib0")
    interfaces.choose_gloo_interface("node0")
    assert interfaces.os.environ[interfaces.VARIABLE] == "ib0"


def test_a_hint_names_the_variable_where_no_interface_is_found(resolves, caplog):
    resolves("127.0.1.1", "10.0.0.7", interface=None)
    interfaces.choose_gloo_interface("node0")
    assert interfaces.VARIABLE in caplog.text


def test_the_loopback_interface_is_found_by_its_address():
    assert interfaces.interface_of("127.0.0.1") == "lo"
    assert interfaces.interface_of("203.0.113.1") is None
    assert interfaces.address_towards("127.0.0.1") == "127.0.0.1"
