"""The registry: names of data sets, addresses, lengths, checksums, licences and citations, read from YAML.

One file is shipped (``registry.yaml``). A user's own add sets to it, or replace some of its sets by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from chemscale.common.paths import user_folder
from chemscale.common.sections import ConfigurationError, Count, MissingKeyError, read_section
from chemscale.fetching.errors import FetchError

SHIPPED = Path(__file__).with_name("registry.yaml")
SCHEMA = 1
MANIFEST = "manifest.json"
PART = ".part"
SCHEMES = ("https", "http", "file")


@dataclass(frozen=True)
class Mirror:
    """One address of a file.

    Args:
        url: https, http or file; ``file:NAME`` in a registry lies beside it.
        unverified: why nobody can vouch that the file lies there; None where a public source states it.
    """

    url: str
    unverified: str | None = None

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in SCHEMES:
            raise ConfigurationError(f"{self.url!r} is no address: give one of {', '.join(SCHEMES)}.")


@dataclass(frozen=True)
class Unpack:
    """What is taken out of an archive: members by the last part of their names, so that none can leave.

    Args:
        members: patterns of names, such as ``*.xyz``.
        to: name of the one file that they are, or with ``/`` at its end the folder that they go into; ``./``
            is the set's own folder.
        about_bytes: of the content, as somebody once saw it: for plans, not checked.
        sha256: of members, by name, where they are known.
    """

    members: tuple[str, ...]
    to: str
    about_bytes: Count | None = None
    sha256: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if self.to != "./":
            check_path(self.to.removesuffix("/"), "to")

    @property
    def is_folder(self) -> bool:
        """Whether members go into a folder under their own names."""
        return self.to.endswith("/")


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set.

    Args:
        path: where it lies, below the set's folder.
        mirrors: its addresses, in the order in which they are tried.
        bytes: its length, checked.
        about_bytes: its length as somebody once saw it: for plans, not checked.
        md5: hexadecimal, as published.
        sha256: hexadecimal, as published or as two parties found it.
        unpack: what is taken out of it, where it is an archive that is not read as it is.
        always: fetched whatever part of the set is asked for.
    """

    path: str
    mirrors: tuple[Mirror, ...]
    bytes: Count | None = None
    about_bytes: Count | None = None
    md5: str | None = None
    sha256: str | None = None
    unpack: Unpack | None = None
    always: bool = False

    def __post_init__(self) -> None:
        check_path(self.path, "path")
        if not self.mirrors:
            raise ConfigurationError(f"{self.path} has no mirrors: give one address at least.")
        for key, digits in (("md5", 32), ("sha256", 64)):
            value = getattr(self, key)
            if value is not None and not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
                raise ConfigurationError(f"{key} of {self.path} is no {key}: give {digits} digits of 0-9a-f.")

    @property
    def size(self) -> int | None:
        """Its length as far as it is known, in bytes."""
        return self.bytes or self.about_bytes

    @property
    def room(self) -> int:
        """Bytes that it needs at most, its content included, as far as they are known."""
        return (self.size or 0) + ((self.unpack.about_bytes or self.size or 0) if self.unpack else 0)

    @property
    def checksums(self) -> dict[str, str]:
        """Published checksums by algorithm."""
        return {key: value for key in ("md5", "sha256") if (value := getattr(self, key))}


@dataclass(frozen=True)
class DataSet:
    """A published data set.

    Args:
        name: as given to ``fetch``, and of its folder.
        kind: what reads it.
        about: one line.
        licence: as its publisher states it, or that none is stated.
        citation: what its users cite.
        homepage: where people read about it.
        sources: where the addresses, lengths, checksums and the licence are stated.
        use: arguments of ``train`` that read it.
        files: its files.
        note: a sentence that users should read.
        registry: the file that describes it.
    """

    name: str
    kind: Literal["molecules", "structures"]
    about: str
    licence: str
    citation: str
    homepage: str
    sources: str
    files: tuple[RemoteFile, ...]
    use: str = ""
    note: str = ""
    registry: str = str(SHIPPED)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", self.name):
            raise ConfigurationError(f"{self.name!r}: a set's name has letters, digits, - and _ only.")
        places = [place.casefold() for file in self.files for place in _places(file)]
        if not places:
            raise ConfigurationError(f"{self.name} has no files.")
        if double := sorted({place for place in places if places.count(place) > 1}):
            raise ConfigurationError(f"{self.name}: two files are to lie at {double[0]}.")

    @property
    def size(self) -> int:
        """Bytes to download, as far as they are known."""
        return sum(file.size or 0 for file in self.files)

    @property
    def size_is_known(self) -> bool:
        """Whether the length of every file is known."""
        return all(file.size for file in self.files)


def check_path(path: str, key: str) -> None:
    """Refuse a path that leaves a set's folder, or that fetching itself uses.

    Raises:
        ConfigurationError: the path and why.
    """
    parts = path.split("/")
    if path.startswith(("/", "~")) or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise ConfigurationError(f"{key}: {path!r} leaves the set's folder: give a plain path below it.")
    name = parts[-1]
    if name == MANIFEST or name.startswith(".") or name.endswith((PART, f"{PART}.json")):
        raise ConfigurationError(f"{key}: {path!r} is a name that fetching itself uses.")


def _places(file: RemoteFile) -> list[str]:
    return [file.path, file.unpack.to] if file.unpack and not file.unpack.is_folder else [file.path]


def registry_files(extra: Iterable[str | Path] = ()) -> list[Path]:
    """Registries in the order in which they are read, a later one winning.

    The one that is shipped, ``registry.yaml`` of the user's folder of configuration, those that
    ``$CHEMSCALE_REGISTRY`` names (divided by ``:``), and those given.

    Args:
        extra: those given.
    """
    own = user_folder() / "registry.yaml"
    named = [part for part in os.environ.get("CHEMSCALE_REGISTRY", "").split(os.pathsep) if part]
    return [SHIPPED, *([own] if own.is_file() else []), *(Path(p).expanduser() for p in [*named, *extra])]


def load_registry(extra: Iterable[str | Path] = ()) -> dict[str, DataSet]:
    """Data sets by name.

    Args:
        extra: further registries, which win.

    Raises:
        FetchError: a registry cannot be read, or describes a set wrongly; the message names file and key.
    """
    found: dict[str, DataSet] = {}
    for path in registry_files(extra):
        found |= read_registry(path)
    return found


def read_registry(path: Path) -> dict[str, DataSet]:
    """Data sets of one registry, by name.

    Raises:
        FetchError: it cannot be read, or describes a set wrongly.
    """
    try:
        content = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise FetchError(f"{path}: no readable registry ({error}).") from None
    sets = content.get("sets") if isinstance(content, Mapping) else None
    if not isinstance(sets, Mapping):
        raise FetchError(f"{path}: a registry has a mapping `sets` (docs/howto/fetching.md).")
    if content.get("schema") != SCHEMA:
        raise FetchError(
            f"{path}: schema {content.get('schema')!r} of a registry; this version reads {SCHEMA}."
        )
    found = {}
    for name, values in sets.items():
        try:
            plain = _written_out({**values, "name": name, "registry": str(path)}, path.absolute().parent)
            found[str(name)] = read_section(DataSet, plain, f"sets.{name}")
        except MissingKeyError as error:
            raise FetchError(f"{path}: {error.key} is missing.") from None
        except ConfigurationError as error:
            raise FetchError(f"{path}: {error}") from None
        except (TypeError, AttributeError):
            raise FetchError(f"{path}: sets.{name}: give a mapping (docs/howto/fetching.md).") from None
    return found


def _written_out(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Short forms as what they stand for: a mirror that is only its address, a file beside the registry, one
    pattern of members."""
    files = []
    for file in values.get("files") or ():
        file = dict(file)
        mirrors = file.get("mirrors") or ()
        file["mirrors"] = [_mirror({"url": m} if isinstance(m, str) else m, folder) for m in mirrors]
        unpack = file.get("unpack")
        if isinstance(unpack, Mapping) and isinstance(unpack.get("members"), str):
            file["unpack"] = {**unpack, "members": [unpack["members"]]}
        files.append(file)
    return {**values, "files": files}


def _mirror(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    url = values.get("url")
    if isinstance(url, str) and url.startswith("file:") and not url.startswith("file:/"):
        return {**values, "url": (folder / url.removeprefix("file:")).as_uri()}
    return dict(values)


def choose(sets: Mapping[str, DataSet], name: str) -> DataSet:
    """A set by its name.

    Raises:
        FetchError: there is none; those that there are.
    """
    if name not in sets:
        raise FetchError(
            f"{name}: no registry has a set of this name. There are {', '.join(sets)}; one of your own goes "
            "into a file for --registry (docs/howto/fetching.md)."
        )
    return sets[name]
