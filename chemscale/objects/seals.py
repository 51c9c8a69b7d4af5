"""Files and folders in a store that count only when they are whole: a list of checksums, the seal, is last.

A seal is an object ``NAME.sha256`` beside ``NAME``, in the format of ``sha256sum``, as checkpoints have it on
a disk. Without its seal nothing is taken for there; what is removed loses its seal first.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chemscale.common.files import atomic_write
from chemscale.common.locks import file_lock
from chemscale.objects.address import Address, address_of, lock_for
from chemscale.objects.errors import Damaged, Missing, StoreError
from chemscale.objects.lease import Lease
from chemscale.objects.store import Entry, Store, open_store
from chemscale.objects.transfers import fetch_all, send_all

log = logging.getLogger(__name__)

SEAL = ".sha256"
LEFT_OUT = (".part", ".fetching", ".lock", ".index")
"""Endings of files that are nobody's data: what is being written, and what is counted again wherever it is
missing, by whoever reads a folder while it is sent."""

FOUND_AGAIN = "edges-"
"""How folders in a store of structures begin whose neighbour lists grow while others read them."""
PAGES = ("report.html", "report.json")
"""Files beside what is prepared that are written anew whenever they are asked for: sent, and never sealed."""


def is_data(path: Path) -> bool:
    """Whether a file belongs to what lies in its folder: nothing hidden, and nothing that is being written.

    Args:
        path: relative to the folder.
    """
    return not any(part.startswith(".") or part.endswith(LEFT_OUT) for part in path.parts)


def files_of(folder: Path) -> dict[str, Path]:
    """The files of a folder and its sub-folders by their relative names, in order."""
    found = {}
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if is_data(Path(name)) and not name.startswith(FOUND_AGAIN)]
        for name in names:
            if is_data(Path(name)):
                path = Path(root) / name
                found[path.relative_to(folder).as_posix()] = path
    return dict(sorted(found.items()))


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal_folder(folder: Path, files: Mapping[str, Path] | None = None) -> str:
    """The list of checksums of a folder that is whole.

    Args:
        folder: on this disk.
        files: of it by their relative names; None for all.
    """
    files = files_of(folder) if files is None else files
    with ThreadPoolExecutor(4) as pool:
        digests = pool.map(digest_of, files.values())
        return "".join(
            f"{digest}  {folder.name}/{name}\n" for name, digest in zip(files, digests, strict=True)
        )


def parse_seal(text: str, address: Address, seal_name: str) -> dict[str, str]:
    """Checksums by the names of files, relative to the folder in which the seal lies.

    Args:
        text: of the seal.
        address: of the folder that it lies in.
        seal_name: of the seal.

    Raises:
        Damaged: it is no such list, or names what lies elsewhere.
    """
    found = {}
    of = seal_name.removesuffix(SEAL)
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        name = name or f"{of}.ckpt"  # version 0.1.0 wrote the bare checksum of a single file
        inside = name.split("/")
        if len(digest) != 64 or ".." in inside or inside[0] not in (of, f"{of}.ckpt"):
            raise Damaged(f"{address.child(seal_name)}: not a list of the checksums of {of}.")
        found[name] = digest
    if not found:
        raise Damaged(f"{address.child(seal_name)}: an empty list of checksums.")
    return found


def send_sealed(
    store: Store,
    parent: Address,
    files: Mapping[str, Path],
    seal_name: str,
    seal: str,
    title: str = "",
) -> None:
    """Write files, see that they are there with their lengths, and seal them.

    Args:
        store: that takes them.
        parent: address of the folder in which the seal lies.
        files: by their names relative to it.
        seal_name: of the seal.
        seal: its text.
        title: before a bar; empty for none.

    Raises:
        FileNotFoundError: a file is gone meanwhile; nothing is sealed.
        Damaged: an object has another length than its file.
        StoreError: the store does not take them.
    """
    sizes = {name: path.stat().st_size for name, path in files.items()}
    there = _standing(store, parent, files)
    store.delete([parent.child(seal_name)])
    store.delete([parent.child(name) for name in there if name not in files])
    missing = {name: path for name, path in files.items() if not is_same(path, there.get(name))}
    send_all(store, [(path, parent.child(name)) for name, path in missing.items()], title)
    there = _standing(store, parent, files)
    for name, size in sizes.items():
        found = there[name].size if name in there else 0
        if found != size:
            raise Damaged(f"{parent.child(name)}: {found} bytes stand there, {size} were written.")
    store.write(parent.child(seal_name), seal.encode())


def _standing(store: Store, parent: Address, names: Collection[str]) -> dict[str, Entry]:
    """What stands in a store under the first parts of names, by its name."""
    found = {}
    for top in {name.split("/")[0] for name in names}:
        found.update({f"{top}/{name}": entry for name, entry in store.entries(parent.child(top)).items()})
        if top in names and (single := store.entry(parent.child(top))) is not None:
            found[top] = single
    return found


def is_here(path: Path, entry: Entry) -> bool:
    """Whether a small file is an object, as far as its length and a tag that may be its MD5 say."""
    try:
        return path.stat().st_size == entry.size and (len(entry.tag) != 32 or is_same(path, entry))
    except FileNotFoundError:
        return False


def is_same(path: Path, entry: Entry | None) -> bool:
    """Whether a file is known to be an object: by its MD5, which is the tag of an object of one part.

    Args:
        path: of a file that is here.
        entry: of the object; None where there is none.
    """
    if entry is None or entry.size != path.stat().st_size or len(entry.tag) != 32:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == entry.tag


def drop_sealed(store: Store, parent: Address, seal_name: str, names: Sequence[str]) -> None:
    """Remove what was sealed, its seal first.

    Args:
        store: that has it.
        parent: address of the folder in which the seal lies.
        seal_name: of the seal.
        names: of the objects, relative to the folder.
    """
    store.delete([parent.child(seal_name), *(parent.child(name) for name in names)])


def fetch_sealed(store: Store, parent: Address, name: str, into: Path, title: str = "") -> None:
    """Fetch a sealed file or folder, checked by its seal; a second process may do the same meanwhile.

    Args:
        store: that has it.
        parent: address of the folder in which its seal lies.
        name: what the seal is called without its ending; the file may be called ``NAME.ckpt``.
        into: folder that gets it. A checkpoint gets its seal too, as it has one on a disk.
        title: before a bar; empty for none.

    Raises:
        Missing: there is no seal.
        Damaged: a file is missing, or differs from its checksum, at every attempt.
        StoreError: the store does not answer.
    """
    seal_name = name + SEAL
    seal = store.read(parent.child(seal_name)).decode(errors="replace")
    wanted = parse_seal(seal, parent, seal_name)
    top = next(iter(wanted)).split("/")[0]
    listed = _standing(store, parent, wanted)
    missing = [each for each in wanted if each not in listed]
    if missing:
        raise Damaged(
            f"{parent.child(missing[0])}: missing, although {seal_name} names it ({len(missing)} of "
            f"{len(wanted)} files). Remove the seal to do without."
        )
    waited = []

    def wait(_: str) -> None:
        log.info("Another process fetches %s: waiting for it.", parent.child(name))
        waited.append(name)

    with file_lock(lock_for(into / top), busy=wait, without="fetch it by one process"):
        if waited and all(_there(into / each, digest) for each, digest in wanted.items()):
            return  # by the process that this one waited for, which may be reading it
        hidden, target = into / f".{top}.pulled", into / top
        jobs = [
            (parent.child(each), hidden / each, listed[each], digest)
            for each, digest in wanted.items()
            if not _there(hidden / each, digest)
        ]
        try:
            fetch_all(store, jobs, title)
        except Damaged as error:
            raise Damaged(f"{error} Remove {seal_name} there to do without.") from None
        if target.is_dir():
            shutil.rmtree(target)
        elif (hidden / top).is_dir():  # a checkpoint of several ranks in place of one of a single rank
            target.unlink(missing_ok=True)
        if top.endswith(".ckpt"):
            with atomic_write(into / seal_name) as file:
                file.write(seal)
        os.replace(hidden / top, target)
        shutil.rmtree(hidden, ignore_errors=True)


def _there(path: Path, digest: str) -> bool:
    return path.is_file() and digest_of(path) == digest


def sealed_names(entries: Mapping[str, Entry], folder: str = "") -> list[str]:
    """Names of what is sealed in a folder of a listing, in order.

    Args:
        entries: as ``Store.entries`` gives them.
        folder: relative to what was listed; empty for the top.
    """
    prefix = f"{folder}/" if folder else ""
    inside = [name.removeprefix(prefix) for name in entries if name.startswith(prefix)]
    return sorted(name.removesuffix(SEAL) for name in inside if "/" not in name and name.endswith(SEAL))


def fetch_folder(folder: Path, title: str = "") -> bool:
    """Fetch a folder whose working copy is missing, where it is sealed in its store.

    Args:
        folder: on this disk; of another than a working copy nothing is done.
        title: before a bar; empty for none.

    Returns:
        Whether it is here now.

    Raises:
        Damaged: it is sealed, and not what the seal says.
        StoreError: the store does not answer.
    """
    address = address_of(folder)
    if address is None:
        return False
    try:
        fetch_sealed(open_store(address), address.parent, address.name, folder.parent, title)
    except Missing:
        return False
    return True


def publish_files(folder: Path, names: Collection[str] | None = None) -> None:
    """Write the files of a folder to the address whose working copy it is, each for itself; such as a report.

    Args:
        folder: on this disk; of another than a working copy nothing is done.
        names: of the files; None for all that are there.

    Raises:
        StoreError: the store does not take them.
    """
    address = address_of(folder)
    if address is not None and folder.is_dir():
        found = files_of(folder).items()
        files = [(path, address.child(name)) for name, path in found if names is None or name in names]
        send_all(open_store(address), files)


def publish_report(folder: Path, names: Collection[str] | None = None) -> None:
    """Write what nothing depends on, as ``publish_files`` does; what hinders it is an error in the log.

    Args:
        folder: of the report.
        names: of its files, where others lie beside it; None for all that are there.
    """
    try:
        publish_files(folder, names)
    except StoreError as error:
        log.error("%s What was written is in %s.", error, folder)


def publish_folder(folder: Path, title: str = "") -> bool:
    """Write a folder that is whole to the address whose working copy it is, unless it is sealed there.

    Args:
        folder: on this disk; of another than a working copy nothing is done.
        title: before a bar; empty for none.

    Returns:
        Whether it was written.

    Raises:
        StoreError: the store does not take it.
    """
    address = address_of(folder)
    if address is None:
        return False
    store, seal_name = open_store(address), address.name + SEAL
    if store.entry(address.parent.child(seal_name)) is not None:
        return False
    lease = Lease(store, address.parent.child(f".{address.name}"))
    if holder := lease.acquire(wait=True):
        log.info("%s is being written by another process (%s).", address, holder)
        return False
    lease.keep()
    try:
        if store.entry(address.parent.child(seal_name)) is not None:
            return False  # by whom this process waited for
        # Once: what others put there meanwhile is neither sealed nor sent.
        found = {name: path for name, path in files_of(folder).items() if name not in PAGES}
        files = {f"{folder.name}/{name}": path for name, path in found.items()}
        send_sealed(store, address.parent, files, seal_name, seal_folder(folder, found), title)
    finally:
        with contextlib.suppress(StoreError):
            lease.release()
    return True
