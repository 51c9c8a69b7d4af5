"""Runs at an address as commands read them: records and curves of many, the weights of one, and no more."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from chemscale.objects.address import Address, address_of, is_address
from chemscale.objects.errors import StoreError
from chemscale.objects.run_files import (
    CHECKPOINT,
    RECORD,
    age_of,
    parse_record,
    read_record,
    size_of,
    write_whole,
)
from chemscale.objects.runs import compare, drop_abandoned, is_trained_here, seals_here
from chemscale.objects.seals import SEAL, fetch_sealed, is_here, is_same
from chemscale.objects.store import Entry, Store, open_store
from chemscale.objects.transfers import fetch_all

log = logging.getLogger(__name__)

FOLLOW_SECONDS = 30.0
"""How often a page that is open looks for new records."""


def bring_records(root: str | Path) -> Path:
    """Bring the records and curves below an address to this disk, and the laws that were fitted to them.

    Args:
        root: an address, such as that of a sweep; a path is given back.

    Returns:
        The folder of the working copy.

    Raises:
        StoreError: the store does not answer, or has no record there.
    """
    if not is_address(root):
        return Path(root)
    address = Address.parse(root)
    store = open_store(address)
    entries = store.entries(address)
    found = [name.removesuffix(RECORD) for name in entries if name.rpartition("/")[2] == RECORD]
    if not found:
        raise StoreError(f"{address}: no record of a run there. Give the address of a sweep or of a run.")
    beside = [n for n in entries if n.rpartition("/")[2] == "planned.json" or "law" in n.split("/")[:-1]]
    wanted = [
        (address.child(name), address.local / name, entries[name], None)
        for name in beside
        if not is_here(address.local / name, entries[name])
    ]
    newer: dict[Path, bytes] = {}

    def read(place: str) -> bytes:
        entry, path = entries[place + RECORD], address.local / place / RECORD
        # Records of one length differ: only a checksum says that it is the one that is here.
        if path.is_file() and is_same(path, entry):
            return path.read_bytes()
        return store.read(address.child(place + RECORD))

    with ThreadPoolExecutor(8, thread_name_prefix="records") as pool:
        records = list(pool.map(read, found))
    for place, raw in zip(found, records, strict=True):
        record, folder = parse_record(raw), address.local / place
        age, own = age_of(record), age_of(read_record(folder / RECORD))
        if age < own or is_trained_here(folder):
            continue
        name = place + str(record.get("curve", "metrics.jsonl"))
        curve, entry = address.local / name, entries.get(name)
        # Of the same age a longer one is what the store did not take.
        lacks = entry is not None and (age > own or size_of(curve) <= entry.size)
        if entry is not None and lacks and not is_here(curve, entry):
            wanted.append((address.child(name), curve, entry, None))
        if age > own:
            drop_abandoned(folder, _within(entries, place), record)
            newer[folder / RECORD] = raw
    fetch_all(store, wanted, str(address), growing=True)  # runs that train write their curves anew
    for path, raw in newer.items():  # last: a record says that its curve is here
        write_whole(path, raw)
    return address.local


@contextmanager
def following(root: str | Path, every: float = FOLLOW_SECONDS) -> Iterator[Path]:
    """The folder with the records below an address, which are brought anew while the block lasts.

    Args:
        root: an address; a path is given as it is.
        every: seconds between looks.

    Raises:
        StoreError: the store does not answer at first.
    """
    folder, ended = bring_records(root), threading.Event()

    def follow() -> None:
        problem = ""
        while not ended.wait(every):
            try:
                bring_records(root)
                problem = ""
            except (StoreError, OSError) as error:  # such as a full disk
                if not problem:
                    log.warning("%s What was brought before is shown.", error)
                problem = str(error)

    if is_address(root):
        threading.Thread(target=follow, name="records", daemon=True).start()
    try:
        yield folder
    finally:
        ended.set()


def bring_run(path: Path) -> Path:
    """Bring what is used of a run at an address: its record, and its model or else its newest checkpoint.

    Args:
        path: address of a run, of its ``model``, of a sweep's folder and a point's name, or of a folder with
            a model. A path of this disk is given back, unless it is the working copy of a run whose model or
            checkpoints are not here.

    Returns:
        The path on this disk that means the same.

    Raises:
        StoreError: the store does not answer, or has nothing there.
    """
    address = Address.parse(path) if is_address(path) else address_of(path)
    if address is None:
        return path
    if not is_address(path) and not _lacks_weights(path):
        return path
    store = open_store(address)
    run = address.parent if address.name == "model" else address
    entries = store.entries(run)
    if RECORD not in entries:
        if "config.json" in entries:
            return _bring_model(store, run, entries)
        return _by_name(store, address)
    bring_records(str(run))
    _bring_weights(store, run, entries)
    return address.local


def bring_sweep(path: Path) -> Path:
    """Bring the records and models of all runs at an address, or of a sweep's runs of one name.

    Args:
        path: address of a run, of a sweep, or of a sweep and a name, which may be a pattern; a path is given
            back.

    Returns:
        The path on this disk that means the same.

    Raises:
        StoreError: the store does not answer, or has no run there.
    """
    if not is_address(path):
        return path
    address = Address.parse(path)
    store = open_store(address)
    there = store.entries(address)
    root = address if any(name.rpartition("/")[2] == RECORD for name in there) else address.parent
    bring_records(str(root))
    entries = store.entries(root)
    for name in entries:
        place, _, last = name.rpartition("/")
        if last == RECORD and (root is address or _fits(root.local / name, address.name)):
            run = root.child(place) if place else root
            _bring_weights(store, run, _within(entries, f"{place}/" if place else ""))
    return address.local


def _within(entries: Mapping[str, Entry], prefix: str) -> dict[str, Entry]:
    """What a listing has below a prefix, by its name behind it."""
    return {name[len(prefix) :]: entry for name, entry in entries.items() if name.startswith(prefix)}


def _fits(record: Path, name: str) -> bool:
    return fnmatchcase(str(read_record(record).get("name")), name)


def bring_checkpoint(path: Path, step: int) -> None:
    """Bring the checkpoint of a step, where the store has it and this disk has not.

    Args:
        path: of a run on this disk.
        step: of the checkpoint.

    Raises:
        StoreError: the store does not answer.
    """
    address = address_of(path)
    name = f"step-{step:09d}"
    if address is None or (path / "checkpoints" / f"{name}.ckpt").exists():
        return
    store, parent = open_store(address), address.child("checkpoints")
    if store.entry(parent.child(name + SEAL)) is None:
        return
    if not (path / "architecture").exists() and store.entry(address.child("architecture" + SEAL)) is not None:
        fetch_sealed(store, address, "architecture", path)
    fetch_sealed(store, parent, name, path / "checkpoints", f"{address.name} {name}")


def _bring_weights(store: Store, run: Address, entries: Mapping[str, Entry]) -> None:
    folder = run.local
    if is_trained_here(folder):
        return  # it has its own, which the store may not have yet
    if "model" + SEAL in entries:
        if not (folder / "model").is_dir():
            fetch_sealed(store, run, "model", folder, str(run.child("model")))
        return
    sealed = sorted(name for name in entries if CHECKPOINT.fullmatch(name))
    if "architecture" + SEAL in entries and not (folder / "architecture").is_dir():
        fetch_sealed(store, run, "architecture", folder)
    name = sealed[-1].rpartition("/")[2].removesuffix(SEAL) if sealed else ""
    if seals_here(folder):
        _, name = compare(store, run, folder, entries)  # not what was rolled back here meanwhile
    if name:
        fetch_sealed(store, run.child("checkpoints"), name, folder / "checkpoints", f"{run.name} {name}")


def _bring_model(store: Store, address: Address, entries: Mapping[str, Entry]) -> Path:
    """A folder with a model and no record, as somebody put it there."""
    jobs = [
        (address.child(name), address.local / name, entry, None)
        for name, entry in entries.items()
        if "/" not in name and size_of(address.local / name) != entry.size
    ]
    fetch_all(store, jobs, str(address))
    return address.local


def _by_name(store: Store, address: Address) -> Path:
    """A point by the name that its record has, in its sweep's folder."""
    run = address.parent if address.name == "model" else address
    name, sweep = run.name, run.parent
    if not sweep.key:
        raise StoreError(f"{address}: no run and no model there.")
    if any(name.endswith(f"/{RECORD}") for name in store.entries(address)):
        return bring_records(str(address))
    inside = [key for key in store.entries(sweep) if key.count("/") == 1 and key.endswith(f"/{RECORD}")]
    records = {key: store.read(sweep.child(key)) for key in inside}
    named = [key for key, raw in records.items() if parse_record(raw).get("name") == name]
    for key in inside:  # their names are listed where none is meant; nobody goes on from a record alone
        place = sweep.local / key
        if not seals_here(place.parent) and age_of(parse_record(records[key])) > age_of(read_record(place)):
            write_whole(place, records[key])
    for key in named:
        found = sweep.child(key.removesuffix(f"/{RECORD}"))
        bring_records(str(found))
        _bring_weights(store, found, store.entries(found))
    if not inside:
        raise StoreError(f"{address}: no run and no model there.")
    return address.local  # what there is of this name, or that there is none, is said by who looks for it


def _lacks_weights(path: Path) -> bool:
    run = path.parent if path.name == "model" else path
    return (run / RECORD).is_file() and not (
        (run / "model").is_dir() or any((run / "checkpoints").glob("step-*.ckpt"))
    )
