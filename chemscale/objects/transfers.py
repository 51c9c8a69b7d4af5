"""Many objects fetched or written side by side, with a bar where they are large."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from chemscale.common.progress import ProgressBar
from chemscale.objects.address import Address
from chemscale.objects.errors import Damaged, Missing
from chemscale.objects.store import Entry, Store

AT_ONCE = 8
"""Objects under way at once."""
MEGABYTE = 1_000_000
WORTH_A_BAR = 64 * MEGABYTE
"""Bytes above which progress is shown."""


def fetch_all(
    store: Store,
    wanted: Sequence[tuple[Address, Path, Entry, str | None]],
    title: str = "",
    fetched: Callable[[Address, Entry], None] | None = None,
    *,
    growing: bool = False,
) -> None:
    """Fetch objects side by side, with a bar where they are large.

    Args:
        store: that has them.
        wanted: of each its address, the file, its entry, and its SHA-256 or None.
        title: before the bar; empty for none.
        fetched: called for each that is here, in another thread.
        growing: whether an object that was replaced or removed since it was listed is fetched as it is now.

    Raises:
        StoreError: as ``Store.get``, the first of them.
    """
    total = sum(entry.size for _, _, entry, _ in wanted)

    def fetch(each: tuple[Address, Path, Entry, str | None]) -> int:
        address, path, entry, digest = each
        try:
            store.get(address, path, entry, sha256=digest)
        except (Damaged, Missing):
            now = store.entry(address) if growing else entry
            if now == entry:
                raise
            if now is not None:
                store.get(address, path, now, sha256=digest)
        if fetched is not None:
            fetched(address, entry)
        return entry.size

    _side_by_side(fetch, wanted, total, title)


def send_all(store: Store, files: Sequence[tuple[Path, Address]], title: str = "") -> None:
    """Write files to objects side by side, with a bar where they are large and a title is given.

    Args:
        store: that takes them.
        files: and their addresses.
        title: before the bar; empty for none.

    Raises:
        FileNotFoundError: a file is gone.
        StoreError: as ``Store.put``, the first of them.
    """
    sizes = {path: path.stat().st_size for path, _ in files}

    def send(each: tuple[Path, Address]) -> int:
        store.put(*each)
        return sizes[each[0]]

    _side_by_side(send, files, sum(sizes.values()), title)


def _side_by_side(do: Callable[[Any], int], items: Sequence[Any], total: int, title: str) -> None:
    bar = ProgressBar(title, -(-total // MEGABYTE), "MB", silent=not title or total < WORTH_A_BAR)
    done = 0
    with bar, ThreadPoolExecutor(AT_ONCE, thread_name_prefix="objects") as pool:
        under_way = [pool.submit(do, item) for item in items]
        try:
            for each in as_completed(under_way):
                done += each.result()
                bar.update(done // MEGABYTE)
        except BaseException:
            for each in under_way:
                each.cancel()
            raise
