"""Archives: pieces of the chain in files outside the database, each named by its place and the hash of its content.

A file is JSON lines, as an export has them; it begins where the one before it ends, and ends with a seal.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from interlock import errors
from interlock.observability.seal import sync
from interlock.observability.verify import NAMED, Bad, Chain, read_event
from interlock.storage.database import Reader, Transaction

__all__ = ["Archive", "Draft", "check", "listed", "parts", "read", "replace", "save", "tidy"]

_LISTED = "SELECT stream, seq, hash, file, at FROM archives WHERE tenant = '' AND stream = ? ORDER BY seq"
_SAVE = "INSERT INTO archives (tenant, stream, seq, hash, file, at) VALUES ('', ?, ?, ?, ?, ?)"
_REPLACE = "UPDATE archives SET file = ? WHERE tenant = '' AND stream = ? AND seq = ?"


class Archive(NamedTuple):
    """A row of `archives`: the chain `stream` up to `seq`, where it had `hash`, left for `file` at a time."""

    stream: str
    seq: int
    hash: str
    file: str
    at: str


class Draft:
    """A file that is being written. `keep` makes it durable and gives its name; left without, it is deleted."""

    def __init__(self, folder: Path, stream: str, first: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder, self._stem = folder, f"{stream}-{first:012d}"
        self._made = folder / f"{self._stem}.new"
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None

    def __enter__(self) -> Draft:
        self._file = os.fdopen(os.open(self._made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        return self

    def add(self, line: bytes) -> None:
        assert self._file is not None, "entered"
        self._file.write(line)
        self._hash.update(line)

    def keep(self, last: int) -> str:
        assert self._file is not None, "entered"
        self._file.flush()
        os.fsync(self._file.fileno())
        name = f"{self._stem}-{last:012d}-{self._hash.hexdigest()}.jsonl"
        self._made.replace(self._folder / name)
        sync(self._folder)
        return name

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()
        self._made.unlink(missing_ok=True)


def listed(reader: Reader, stream: str) -> list[Archive]:
    """The archives of a stream in the order of the chain."""
    return [Archive(*row) for row in reader.rows(_LISTED, (stream,))]


def save(tx: Transaction, archive: Archive) -> None:
    tx.execute(_SAVE, archive)


def replace(tx: Transaction, archive: Archive, file: str) -> None:
    """An erasure wrote the file anew under another name."""
    tx.execute(_REPLACE, (file, archive.stream, archive.seq))


def read(folder: Path, archive: Archive) -> Iterator[bytes]:
    """The lines of an archive. Raises OSError when it is not there."""
    with (folder / archive.file).open("rb") as lines:
        yield from lines


def parts(archive: Archive) -> re.Match[str]:
    """What the name of an archive says. Raises DatabaseCorrupt when it says nothing."""
    found = NAMED.fullmatch(archive.file)
    if found is None:
        raise errors.DatabaseCorrupt(f"{archive.file} is no name of an archive", "run `interlock audit verify`")
    return found


def check(chain: Chain, folder: Path, archives: Sequence[Archive], kept: Mapping[int, str]) -> None:
    """Take the files into a chain, one after the other. Raises Bad where one is missing or was touched.

    `kept` are rows that stayed in the database too, with their hashes by number: each is the one in the archive.
    """
    for archive in archives:
        begun = chain.seq
        try:
            for line in _as_named(read(folder, archive), archive, begun):
                chain.take(read_event(line, chain.seq + 1))
                if kept.get(chain.seq, chain.hash) != chain.hash:
                    raise Bad(chain.seq, "the row that stayed is not the one in the archive")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise Bad(chain.seq + 1, f"the archive {archive.file} was changed") from None
        except OSError:
            raise Bad(begun + 1, f"the archive {archive.file} is missing") from None
        if (chain.seq, chain.hash, chain.sealed) != (archive.seq, archive.hash, archive.seq):
            raise Bad(archive.seq, f"{archive.file} is not the archive that was made")


def _as_named(lines: Iterable[bytes], archive: Archive, begun: int) -> Iterator[bytes]:
    """The lines; at their end, Bad unless the name holds their hash."""
    content = hashlib.sha256()
    for line in lines:
        content.update(line)
        yield line
    name = NAMED.fullmatch(archive.file)
    if name is None or name["sha256"] != content.hexdigest():
        raise Bad(begun + 1, f"the archive {archive.file} was changed")


def tidy(folder: Path, known: Iterable[Archive]) -> None:
    """Delete the files that an interrupted archiving or erasure left: what they hold lies elsewhere, or must not."""
    kept = {archive.file for archive in known}
    for file in folder.glob("*"):
        if file.name not in kept and (NAMED.fullmatch(file.name) or file.suffix == ".new"):
            file.unlink()
