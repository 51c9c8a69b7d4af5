"""Runs at an address, brought back to this disk to go on with them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from chemscale.common.locks import PointBusyError, file_lock
from chemscale.objects.address import Address, address_of
from chemscale.objects.errors import Damaged, Missing
from chemscale.objects.run_files import CHECKPOINT, RECORD, age_of, parse_record, read_record, write_whole
from chemscale.objects.seals import SEAL, fetch_sealed
from chemscale.objects.store import Entry, Store, open_store
from chemscale.objects.transfers import fetch_all

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often a run is brought back that changes meanwhile."""


def bring_back(folder: Path, *, locked: bool = False) -> bool:
    """Bring a run to this disk where its store has it further than it is here.

    What is here and further stays. A run that is done comes without its checkpoints.

    Args:
        folder: the working copy of a run, which need not exist; of another folder nothing is done.
        locked: whether this process holds the run's lock; else a run that is trained here now is left alone.

    Returns:
        Whether anything was brought.

    Raises:
        StoreError: the store does not answer, or what it has is damaged.
    """
    address = address_of(folder)
    if address is None:
        return False
    store = open_store(address)
    if locked:
        return _bring_back(store, address, folder, store.entries(address))
    try:
        if RECORD not in store.entries(address):
            return False
        with _run_lock(folder):
            for _ in range(ATTEMPTS - 1):
                entries = store.entries(address)
                try:
                    return _bring_back(store, address, folder, entries)
                except (Missing, Damaged):
                    if store.entries(address) == entries:
                        raise
                    # Another machine trains it: what was listed is replaced by what comes after it.
            return _bring_back(store, address, folder, store.entries(address))
    except PointBusyError:
        return False


def _run_lock(folder: Path) -> AbstractContextManager[Any]:
    """The lock that who trains a run holds.

    Raises:
        PointBusyError: it is trained now.
    """
    return file_lock(
        folder / ".lock", busy=lambda _: PointBusyError(), without="see that no second process trains there"
    )


def is_trained_here(folder: Path) -> bool:
    """Whether a live process of this machine trains the run in a folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        with _run_lock(folder):
            return False
    except PointBusyError:
        return True


def is_ahead(folder: Path) -> bool:
    """Whether the store has a run further than it is here; False for a folder that is no working copy.

    Raises:
        StoreError: the store does not answer.
    """
    address = address_of(folder)
    if address is None:
        return False
    store = open_store(address)
    entries = store.entries(address)
    return RECORD in entries and any(compare(store, address, folder, entries))


def is_in_step(folder: Path) -> bool:
    """Whether a store has a run as it is here: its record, its newest checkpoint and its model.

    Raises:
        StoreError: the store does not answer.
    """
    address = address_of(folder)
    if address is None or not (folder / RECORD).is_file():
        return True
    store = open_store(address)
    entries = store.entries(address)
    if RECORD not in entries or store.read(address.child(RECORD)) != (folder / RECORD).read_bytes():
        return False
    wanted = [f"checkpoints/{name}" for name in seals_here(folder)[-1:]]
    wanted += ["model" + SEAL] if (folder / "model").is_dir() else []
    return all(name in entries for name in wanted)


def seals_here(folder: Path) -> list[str]:
    """Seals of the checkpoints of a run on this disk, in order."""
    found = sorted((folder / "checkpoints").glob(f"step-*{SEAL}"))
    return [path.name for path in found if path.with_suffix(".ckpt").exists()]


def compare(store: Store, address: Address, folder: Path, entries: Mapping[str, Entry]) -> tuple[bool, str]:
    """Whether the record of a store is the newer one, and which checkpoint is later than those here.

    Args:
        store: that has the run.
        address: of the run.
        folder: where it is here.
        entries: below the address; there is a record among them.
    """
    raw = parse_record(store.read(address.child(RECORD)))
    theirs, ours = age_of(raw), age_of(read_record(folder / RECORD))
    newer = theirs > ours
    # A newer record here knows of a roll-back that the store has not seen.
    if raw.get("state") == "done" or theirs < ours:
        return newer, ""
    sealed = sorted(name for name in entries if CHECKPOINT.fullmatch(name))
    here = seals_here(folder)
    latest = sealed[-1].rpartition("/")[2] if sealed else ""
    later = theirs[0] > ours[0]
    if latest in here and (later or latest == here[-1]):  # what is here of its name may be of another attempt
        seal = folder / "checkpoints" / latest
        lacks = seal.read_bytes() != store.read(address.child(sealed[-1]))
    else:
        lacks = bool(latest) and (later or not here or latest > here[-1])
    return newer, latest.removesuffix(SEAL) if lacks else ""


def _bring_back(store: Store, address: Address, folder: Path, entries: Mapping[str, Entry]) -> bool:
    if RECORD not in entries:
        return False
    newer, checkpoint = compare(store, address, folder, entries)
    if not newer and not checkpoint:
        return False
    log.info("Bringing back %s%s …", address, f" ({checkpoint})" if checkpoint else "")
    if checkpoint:
        for name in ("architecture",):
            if name + SEAL in entries and not (folder / name).exists():
                fetch_sealed(store, address, name, folder)
        where = folder / "checkpoints"
        fetch_sealed(store, address.child("checkpoints"), checkpoint, where, f"{address.name} {checkpoint}")
    if newer:
        drop_abandoned(folder, entries, parse_record(store.read(address.child(RECORD))))
    plain = [name for name in entries if "/" not in name and not name.startswith((".", "error"))]
    plain = [name for name in plain if not name.endswith(SEAL) and name != RECORD]
    fetch_all(store, [(address.child(name), folder / name, entries[name], None) for name in plain])
    if newer:
        write_whole(folder / RECORD, store.read(address.child(RECORD)))  # last: it says that the rest is here
    return True


def drop_abandoned(folder: Path, names: Iterable[str], theirs: Mapping[str, Any]) -> None:
    """Remove checkpoints here beyond the newest of a store in which a later attempt went on from there.

    The curve and the counts that come with the later attempt do not have their steps.

    Args:
        folder: where the run is here, with the record that it has had.
        names: of the objects of the run in the store.
        theirs: the record in the store.
    """
    if age_of(theirs)[0] <= age_of(read_record(folder / RECORD))[0]:
        return
    sealed = max((name.rpartition("/")[2] for name in names if CHECKPOINT.fullmatch(name)), default="")
    for name in seals_here(folder):
        if name > sealed:
            log.warning("%s: %s is of an attempt that another machine went on from.", folder, name)
            checkpoint = (folder / "checkpoints" / name).with_suffix(".ckpt")
            (folder / "checkpoints" / name).unlink(missing_ok=True)
            if checkpoint.is_dir():
                shutil.rmtree(checkpoint)
            else:
                checkpoint.unlink(missing_ok=True)


def bring_trunk(folder: Path) -> None:
    """Bring the stable phase that longer points of a sweep begin from, as far as it is missing here.

    Args:
        folder: of the trunk; of one that is no working copy nothing is done.

    Raises:
        StoreError: the store does not answer.
    """
    address = address_of(folder)
    if address is None:
        return
    store = open_store(address)
    entries = store.entries(address)
    for name in sorted(entries):
        found = CHECKPOINT.fullmatch(name)
        if found is None or found["folder"] or (folder / name).with_suffix(".ckpt").exists():
            continue
        rows = name.removesuffix(SEAL) + ".jsonl"
        try:
            if rows in entries:
                fetch_all(store, [(address.child(rows), folder / rows, entries[rows], None)])
            fetch_sealed(store, address, name.removesuffix(SEAL), folder, f"{address.name} {name}")
        except (Missing, Damaged) as error:  # such as two machines that left it at once
            log.warning("%s Longer points begin earlier.", error)
