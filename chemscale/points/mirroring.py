"""Runs that lie at an address: brought here before they go on, and kept in step with it while they train."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chemscale.common.locks import PointBusyError
from chemscale.objects.address import Address, address_of, is_address, local_place
from chemscale.objects.errors import StoreError
from chemscale.objects.lease import Lease
from chemscale.objects.mirror import FolderMirror, Mirror
from chemscale.objects.runs import bring_back, bring_trunk, is_ahead, is_in_step, is_trained_here
from chemscale.objects.store import open_store
from chemscale.points.base import Point
from chemscale.records import RECORD_NAME, RunRecord, State, is_done
from chemscale.training.distributed.ranks import Ranks

log = logging.getLogger(__name__)

LEASE = ".mirror"
"""What the lease of a run is called, in its folder."""


def warn_of_shared_copies(configs: Sequence[Mapping[str, Any]]) -> None:
    """Say what jobs of SLURM need for runs and data at an address.

    Args:
        configs: resolved, of all points.
    """
    for config in configs:
        places = [
            str(config[key]) for key in ("runs", "corpora", "structures") if is_address(str(config[key]))
        ]
        if places and config["launcher"].get("name") == "slurm":
            log.warning(
                "launcher=slurm with %s: all nodes must share the working copy (%s; CHEMSCALE_CACHE moves "
                "it), and those that train must reach the store.",
                places[0],
                local_place(places[0]),
            )
            return


def bring_points(points: Sequence[Point]) -> None:
    """Bring what the store of some points has and this disk lacks; others stay as they are.

    What is done here and is not in step there, since the store did not take it, is written now.

    Args:
        points: of one command.

    Raises:
        StoreError: a store does not answer, or what it has is damaged.
    """
    mirrored_points = [point for point in points if address_of(point.directory) is not None]
    trunks = [point.trunk.folder for point in mirrored_points if point.trunk is not None]
    for folder in dict.fromkeys(trunks):
        bring_trunk(folder)

    def bring(point: Point) -> None:
        bring_back(point.directory)
        if (point.directory / RECORD_NAME).exists() and is_done(point.directory):
            catch_up(point.directory)

    with ThreadPoolExecutor(8, thread_name_prefix="bring") as pool:
        list(pool.map(bring, mirrored_points))


@contextmanager
def mirrored(point: Point, ranks: Ranks) -> Iterator[None]:
    """Keep a point that lies at an address in step with it within the block, by its first rank.

    What the store does not take at the end is an error in the log and in the record; the run has not failed.

    Args:
        point: that is trained; its lock is held.
        ranks: of this process.

    Raises:
        PointBusyError: another machine trains it.
        StoreError: the store does not answer; or it has the run further than this disk, on several ranks.
    """
    address = address_of(point.directory)
    if address is None or not ranks.is_first:
        yield
        return
    mirror = _open(point.directory, address, point.trunk.folder if point.trunk else None)
    try:
        if ranks.world == 1:
            bring_back(point.directory, locked=True)
        elif is_ahead(point.directory):
            raise StoreError(
                f"{address} went on elsewhere since this command began. The same command brings it here."
            )
    except BaseException:
        mirror.abandon()  # what is here may be behind: nothing of it is written
        raise
    mirror.start()
    try:
        yield
    finally:
        _note(point.directory, address, mirror.close())


def _open(directory: Path, address: Address, trunk: Path | None = None) -> Mirror:
    store = open_store(address)
    lease = Lease(store, address.child(LEASE))
    if holder := lease.acquire(wait=True):
        raise PointBusyError(
            f"{address} is being trained by another process ({holder}). Wait for it or stop it."
        )
    lease.keep()
    folders = [FolderMirror(store, directory, address)]
    beside = address_of(trunk) if trunk is not None else None
    if trunk is not None and beside is not None:
        folders.insert(0, FolderMirror(store, trunk, beside, keeps_all=True))
    return Mirror(folders, lease)


def catch_up(directory: Path) -> None:
    """Write what its store lacks of a run that is not trained now; what hinders it stands in the record.

    Args:
        directory: of a run with a record; of one that lies at no address nothing is done.
    """
    address = address_of(directory)
    if address is None or is_in_step(directory) or is_trained_here(directory):
        return
    try:
        mirror = _open(directory, address)  # the lease may be of this machine before it was started anew
    except PointBusyError as error:
        if RunRecord.load(directory).state is not State.RUNNING:  # else who trains it writes it
            _note(directory, address, str(error))
        return
    try:
        ahead = is_ahead(directory)
    except BaseException:
        mirror.abandon()
        raise
    if ahead:  # another machine has gone on with it
        mirror.abandon()
        return
    _note(directory, address, "", before=True)
    _note(directory, address, mirror.close())


def _note(directory: Path, address: Address, problem: str, *, before: bool = False) -> None:
    """Write into the record whether the store has the run.

    Args:
        directory: of the run.
        address: of its mirror.
        problem: why it has not; empty where it has.
        before: whether this is only to take an old note away.
    """
    if not (directory / RECORD_NAME).exists():
        return
    record = RunRecord.load(directory)
    noted = {"address": str(address), "problem": problem} if problem else {}
    if record.mirror != noted:
        record.mirror = noted
        record.save(directory)
    if problem and not before:
        log.error("%s All of the run is in %s: the same command writes what is missing.", problem, directory)


def end_mirrored(directories: Sequence[Path]) -> None:
    """See that the stores have all runs of a command that has ended; leave with status 1 where one has not.

    Args:
        directories: of the runs.
    """
    if not write_missing(directories):
        sys.exit(1)


def write_missing(directories: Sequence[Path]) -> bool:
    """Write what the stores lack of runs that have ended, records that changed since included.

    Args:
        directories: of the runs.

    Returns:
        Whether the stores have all; else an error in the log says which they have not.
    """
    behind = []
    for directory in directories:
        address = address_of(directory)
        if address is None or not (directory / RECORD_NAME).exists():
            continue
        try:
            catch_up(directory)
            problem = str(RunRecord.load(directory).mirror.get("problem", ""))
        except StoreError as error:
            problem = str(error)
            _note(directory, address, problem)
        if problem:
            behind.append(directory.name)
    if behind:
        log.error(
            "%d of %d runs are not all in their store: %s.", len(behind), len(directories), ", ".join(behind)
        )
    return not behind
