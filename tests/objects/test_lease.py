"""One machine writes at a time; the lease of a dead one is taken over, that of a live one is not."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chemscale.objects import lease as leases
from chemscale.objects.address import Address
from chemscale.objects.errors import StoreError
from chemscale.objects.lease import Lease
from chemscale.objects.store import open_store
from tests.helpers.object_stores import Fault, forbid


def lease(bucket, **options):
    address = Address.parse(f"{bucket.url}/runs/point/.mirror")
    return Lease(open_store(address), address, **options)


def elsewhere(bucket, **content):
    """A lease of another machine."""
    found = {"host": "node7", "boot": "another", "pid": 1, "token": "theirs", "written": "then", **content}
    bucket.put("runs/point/.mirror.lease-000004", json.dumps(found).encode())


def test_a_lease_is_held_by_one_and_given_back(bucket):
    first, second = lease(bucket), lease(bucket)
    assert first.acquire() == ""
    assert "pid" in second.acquire()
    assert first.renew(every=0) == ""
    first.release()
    assert bucket.listed() == []
    assert second.acquire() == ""


def test_the_lease_of_another_machine_is_respected(bucket):
    elsewhere(bucket)
    assert lease(bucket).acquire() == "pid 1 on node7, last heard of at then"


def test_a_lease_that_nobody_writes_anew_is_taken_over_and_its_holder_sees_it(bucket, monkeypatch):
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.05)
    old = lease(bucket)
    assert old.acquire() == ""
    new = lease(bucket, dead_after=0.3)
    assert new.acquire(wait=True) == ""
    assert bucket.listed() == ["runs/point/.mirror.lease-000002"]
    assert f"pid {leases.os.getpid()} on" in old.renew(every=0)
    old.release()
    assert bucket.listed() == ["runs/point/.mirror.lease-000002"]


def test_a_lease_that_is_given_back_while_two_watch_goes_to_one(bucket, monkeypatch):
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.05)
    old = lease(bucket)
    assert old.acquire() == ""
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.2)
    waiting = [lease(bucket, dead_after=5.0) for _ in range(4)]

    def wait(each):
        if holder := each.acquire(wait=True):
            return holder
        each.keep()
        return ""

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(wait, each) for each in waiting]
        time.sleep(0.3)
        old.release()
        said = [each.result() for each in asked]
    assert sorted(map(bool, said)) == [False, True, True, True]
    assert bucket.listed() == ["runs/point/.mirror.lease-000001"]
    waiting[said.index("")].release()


def test_a_lease_that_is_written_anew_while_somebody_watches_is_not_taken(bucket, monkeypatch):
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.05)
    alive, ended = lease(bucket), threading.Event()
    assert alive.acquire() == ""

    def live():
        while not ended.is_set():
            alive.renew(every=0)
            time.sleep(0.1)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        assert "pid" in lease(bucket, dead_after=20).acquire(wait=True)
    finally:
        ended.set()
        thread.join()


def test_a_lease_that_is_written_anew_at_the_last_moment_is_not_taken(bucket, monkeypatch):
    old, new = lease(bucket), lease(bucket)
    assert old.acquire() == ""
    watched = []

    def has_died(number, content):
        watched.append(content)
        old.renew(every=0)
        return len(watched) == 1

    monkeypatch.setattr(new, "_has_died", has_died)
    assert "pid" in new.acquire(wait=True)
    assert old.renew(every=0) == ""


def test_a_renewal_under_way_does_not_bring_a_lease_back_that_is_given_back(bucket, monkeypatch):
    held, begun, allowed = lease(bucket), threading.Event(), threading.Event()
    assert held.acquire() == ""
    write = held.store.write

    def slow(*arguments):
        begun.set()
        allowed.wait(5)
        write(*arguments)

    monkeypatch.setattr(held.store, "write", slow)
    threads = [threading.Thread(target=held.renew, args=(0,)), threading.Thread(target=held.release)]
    threads[0].start()
    assert begun.wait(5)
    threads[1].start()
    time.sleep(0.2)
    allowed.set()
    for thread in threads:
        thread.join()
    assert bucket.listed() == []


def test_a_lease_that_the_store_kept_when_it_was_given_back_is_free_for_the_same_process(bucket):
    held = lease(bucket)
    assert held.acquire() == ""
    bucket.proxy.faults.append(Fault(lambda method, path: method == "DELETE", forbid, times=9))
    with pytest.raises(StoreError):
        held.release()
    bucket.proxy.faults.clear()
    assert lease(bucket).acquire() == ""


def test_the_lease_of_a_process_of_this_machine_that_is_gone_is_free(bucket):
    gone = lease(bucket)
    assert gone.acquire() == ""
    content = json.loads(bucket.get("runs/point/.mirror.lease-000001"))
    bucket.put("runs/point/.mirror.lease-000001", json.dumps({**content, "pid": 2**22 + 1}).encode())
    assert lease(bucket).acquire() == ""
