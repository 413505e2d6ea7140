"""Checks an export of the ledger, away from any database: `python verify.py EXPORT --key PUBLIC.pem --anchor FILE`.

This file stands alone: copy it. It needs orjson and cryptography, nothing of the program that wrote the ledger.
A line of an export is one event: the fields of FIELDS, `data` (null once erased), `salt`, `payload_hash`, `prev`,
`hash`, and `seal` ({key_id, signature}) with each event of type seal.made. The rules:

- payload_hash is SHA-256 of salt and the canonical JSON of data; hash is SHA-256 of the JSON list of the FIELDS, then
  payload_hash and prev; prev is the hash of the event before it, 64 zeros at first; seq counts from 1 without a gap.
- The signature is Ed25519 over the JSON list ["interlock.seal", stream, seq, hash, at, key_id] of the seal.made event.
- An anchor file holds a seal per line, as {stream, seq, hash, at, key_id, signature}, and each is in the export.
- An export of one tenant or case begins with {"proof": {stream, tenant, case_id, since}} and holds, besides its events,
  every seal.made after number `since`. Each says in `since` which seal came before it, and in `parts` how many events
  of each tenant and case lie between, with the SHA-256 of the JSON list of their hashes; `part_name` names a part.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

__all__ = [
    "NAMED", "Bad", "Chain", "Part", "Result", "Seal", "check", "check_files", "key_id", "part_name", "part_of",
    "read_anchor", "read_event", "read_keys", "signed",
]  # fmt: skip

GENESIS = "0" * 64
FIELDS = ("stream", "seq", "at", "type", "schema_version", "tenant", "case_id", "actor", "identity")
NAMED = re.compile(r"(?P<stream>.+)-(?P<first>\d{12})-(?P<last>\d{12})-(?P<sha256>[0-9a-f]{64})\.jsonl")
Keys = Mapping[str, Ed25519PublicKey]


class Bad(Exception):
    """A finding: the number of the first bad event, and why it is bad."""

    def __init__(self, seq: int, why: str) -> None:
        super().__init__(why)
        self.seq, self.why = seq, why


class Seal(NamedTuple):
    """A signed statement: the chain `stream` had `hash` at `seq`. `at` is text, `signature` hex."""

    stream: str
    seq: int
    hash: str
    at: str
    key_id: str
    signature: str

    def check(self, keys: Keys) -> None:
        """Raises Bad unless one of the keys signed it."""
        if self.key_id not in keys:
            raise Bad(self.seq, f"it is sealed with the unknown key {self.key_id}")
        try:
            keys[self.key_id].verify(bytes.fromhex(self.signature), signed(*self[:-1]))
        except (InvalidSignature, TypeError, ValueError):
            raise Bad(self.seq, "the signature of its seal is wrong") from None


class Result(NamedTuple):
    """`ok`, how many events were read, up to which one they are sealed, and where and why the first bad one is bad."""

    ok: bool
    events: int
    sealed: int
    first_bad: int | None = None
    why: str = ""

    def summary(self) -> str:
        """For people; the events after the last seal are proved by no signature yet."""
        return f"{self.events} events, verified; sealed up to event {self.sealed}"


def signed(stream: str, seq: int, hash: str, at: str, key_id: str) -> bytes:
    """The bytes that a seal's signature is over."""
    return orjson.dumps(["interlock.seal", stream, seq, hash, at, key_id])


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def part_name(tenant: str, case_id: str | None = None) -> str:
    """What seals call the events of a tenant, or of a case of it: it tells others nothing."""
    named = ["interlock.part", tenant] if case_id is None else ["interlock.part", tenant, case_id]
    return hashlib.sha256(orjson.dumps(named)).hexdigest()


def part_of(hashes: Sequence[str]) -> list[Any]:
    """How many events these are, and the SHA-256 of the list of their hashes."""
    return [len(hashes), hashlib.sha256(orjson.dumps(list(hashes))).hexdigest()]


def read_keys(texts: Iterable[bytes]) -> dict[str, Ed25519PublicKey]:
    """Public keys by id, from PEM. Raises ValueError when one is no Ed25519 public key."""
    found: dict[str, Ed25519PublicKey] = {}
    for text in texts:
        key = load_pem_public_key(text)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("this is no Ed25519 public key")  # noqa: TRY004 - the file is wrong, not a type
        found[key_id(key)] = key
    return found


def read_anchor(text: bytes, keys: Keys) -> list[Seal]:
    """The seals of an anchor file, each checked. Raises Bad when it was edited, cut inside, or its order changed.

    A line that a crash tore is followed by the whole one, or is the last.
    """
    seals: list[Seal] = []
    lines = text.split(b"\n")
    for number, line in enumerate(lines[:-1]):
        if not line or (lines[number + 1] != line and lines[number + 1].startswith(line)):
            continue
        seals.append(_anchored(line, keys, seals))
    return seals


def _anchored(line: bytes, keys: Keys, before: Sequence[Seal]) -> Seal:
    last = before[-1].seq if before else 0
    try:
        seal = Seal(**orjson.loads(line))
    except (ValueError, TypeError):
        raise Bad(last + 1, "a line of the anchor cannot be read") from None
    if not isinstance(seal.seq, int):
        raise Bad(last + 1, "a line of the anchor cannot be read")
    if orjson.dumps(seal._asdict()) != line:
        raise Bad(seal.seq, "a line of the anchor was changed")
    seal.check(keys)
    if seal.seq <= last:
        raise Bad(seal.seq, "the anchor is out of order, or the chain was written twice")
    return seal


@dataclass
class Chain:
    """A chain as far as it was read. Begun elsewhere than at the start with `seq` and `hash` of what came before it."""

    keys: Keys
    anchored: dict[int, Seal] = field(default_factory=dict)
    anchor_end: int = 0
    partial: bool = False
    last: int | None = None
    stream: str = ""
    seq: int = 0
    hash: str = GENESIS
    events: int = 0
    sealed: int = 0
    erased: dict[str, int] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)

    def take(self, row: Mapping[str, Any]) -> None:
        """The next event. Raises Bad, and what a field of the wrong kind raises."""
        if not self.events:
            self._begin(row)
        self._follow(row)
        self._payload(row)
        if row["type"] == "seal.made":
            self._sealed(row)
        elif "seal" in row:
            raise Bad(self.seq, "it is no seal.made, and has a seal")
        known = self.anchored.pop(self.seq, None)
        if known is not None and known.hash != self.hash:
            raise Bad(self.seq, "it is not the event that was anchored")
        if known is None and row["type"] == "seal.made" and self.seq <= self.anchor_end:
            raise Bad(self.seq, "its seal is missing in the anchor")

    def _begin(self, row: Mapping[str, Any]) -> None:
        self.stream = self.stream or row["stream"]
        if self.partial:
            self.seq, self.hash = row["seq"] - 1, row["prev"]
            self.anchored = {seq: seal for seq, seal in self.anchored.items() if seq > self.seq}

    def _follow(self, row: Mapping[str, Any]) -> None:
        if row["stream"] != self.stream or row["seq"] != self.seq + 1:
            raise Bad(self.seq + 1, "the event is missing")
        if row["prev"] != self.hash:
            raise Bad(row["seq"], "it does not follow the event before it")
        fields = [row[name] for name in FIELDS]
        link = hashlib.sha256(orjson.dumps([*fields, row["payload_hash"], self.hash])).hexdigest()
        if link != row["hash"]:
            raise Bad(row["seq"], "the event was changed")
        self.seq, self.hash = row["seq"], link
        self.events += 1

    def _payload(self, row: Mapping[str, Any]) -> None:
        if row["data"] is None:
            self.erased[row["payload_hash"]] = self.seq
            return
        text = orjson.dumps(row["data"], option=orjson.OPT_SORT_KEYS)
        if hashlib.sha256(bytes.fromhex(row["salt"]) + text).hexdigest() != row["payload_hash"]:
            raise Bad(self.seq, "the payload was changed")
        if row["type"] == "payload.erased":
            self.named.update(row["data"]["hashes"])

    def _sealed(self, row: Mapping[str, Any]) -> None:
        given = row.get("seal")
        if not given:
            raise Bad(self.seq, "its seal is missing")
        Seal(self.stream, self.seq, self.hash, row["at"], given["key_id"], given["signature"]).check(self.keys)
        self.sealed = self.seq

    def finish(self) -> None:
        """Raises Bad when something is missing at the end, or was erased and nothing says so."""
        if self.last is not None:
            self._cut_off(self.last)
        missing = [seq for seq in self.anchored if seq > self.seq]
        if missing:
            raise Bad(self.seq + 1, f"the end is missing: the anchor knows events up to {max(missing)}")
        if self.anchored:
            raise Bad(min(self.anchored), "the anchor has a seal that the events do not have")
        unnamed = [seq for payload, seq in self.erased.items() if payload not in self.named]
        if unnamed and not self.partial:
            raise Bad(min(unnamed), "the payload was erased, and no payload.erased event says so")
        if self.events and not self.sealed:
            raise Bad(self.seq, "no seal covers any of the events")

    def _cut_off(self, last: int) -> None:
        if (self.seq, self.sealed) != (last, last):
            raise Bad(self.seq + 1, f"it does not end with the seal {last}, as its name says")
        self.anchored = {seq: seal for seq, seal in self.anchored.items() if seq <= last}


class Part(Chain):
    """The events of one tenant or case, with all seals of the chain: they say whether any is missing, or too many."""

    def __init__(self, proof: Mapping[str, Any], keys: Keys) -> None:
        if type(proof["since"]) is not int:
            raise Bad(1, "where it begins cannot be read")
        super().__init__(keys, stream=proof["stream"], seq=proof["since"])
        self.tenant, self.case_id, self.since = proof["tenant"], proof["case_id"], proof["since"]
        self.name, self.hashes = part_name(self.tenant, self.case_id), list[str]()

    def _begin(self, row: Mapping[str, Any]) -> None:
        """Where it begins was said before."""

    def _follow(self, row: Mapping[str, Any]) -> None:
        """Events of others lie between; what they are is no part of this."""
        seq = row["seq"]
        if row["stream"] != self.stream or type(seq) is not int or seq <= self.seq:
            raise Bad(self.seq + 1, "an event is not in its place")
        fields = [row[name] for name in FIELDS]
        self.seq, self.hash = seq, row["hash"]
        if hashlib.sha256(orjson.dumps([*fields, row["payload_hash"], row["prev"]])).hexdigest() != self.hash:
            raise Bad(seq, "the event was changed")
        if row["type"] == "seal.made":
            return
        if row["tenant"] != self.tenant or self.case_id not in (None, row["case_id"]):
            raise Bad(seq, "it is an event of somebody else")
        self.hashes.append(self.hash)
        self.events += 1

    def _sealed(self, row: Mapping[str, Any]) -> None:
        super()._sealed(row)
        said = row["data"]
        if "parts" not in said:
            raise Bad(self.seq, "its seal says nothing of parts: it was made by an older version")
        if (said["since"], said["seq"]) != (self.since, self.seq - 1):
            raise Bad(self.since + 1, "a seal is missing")
        if said["parts"].get(self.name, part_of([])) != part_of(self.hashes):
            raise Bad(self.since + 1, f"between the seals {self.since} and {self.seq} events are missing, or too many")
        self.since, self.hashes = self.seq, []

    def finish(self) -> None:
        super().finish()
        if self.hashes or not self.sealed:
            raise Bad(self.seq, "it does not end with a seal")


def check(
    lines: Iterable[bytes],
    keys: Keys,
    anchor: bytes | None = None,
    partial: bool = False,
    last: int | None = None,
) -> Result:
    """Check the lines of an export against seals, keys and an anchor file's content.

    `partial` may begin anywhere; `last` is the number of the last event of a piece that goes on elsewhere.
    """
    chain = Chain(keys, partial=partial, last=last)
    try:
        first, rest = _first(lines)
        if first is not None and "proof" in first:
            chain = Part(first["proof"], keys)
        elif first is not None:
            rest = itertools.chain([orjson.dumps(first)], rest)
        for seal in [] if anchor is None else read_anchor(anchor, keys):
            chain.anchored[seal.seq], chain.anchor_end = seal, seal.seq
        if isinstance(chain, Part):
            chain.anchored = {seq: seal for seq, seal in chain.anchored.items() if seq > chain.since}
        for line in rest:
            chain.take(read_event(line, chain.seq + 1))
        chain.finish()
    except Bad as bad:
        return Result(False, chain.events, chain.sealed, bad.seq, bad.why)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as exc:
        why = f"a field is missing or of the wrong kind ({type(exc).__name__})"
        return Result(False, chain.events, chain.sealed, chain.seq + 1, why)
    return Result(True, chain.events, chain.sealed)


def _first(lines: Iterable[bytes]) -> tuple[Any, Iterator[bytes]]:
    """The first line, read, and the others."""
    rest = iter(lines)
    line = next(rest, None)
    return None if line is None else read_event(line, 1), rest


def read_event(line: bytes, seq: int) -> dict[str, Any]:
    """One line. Raises Bad when it is no JSON."""
    try:
        event: dict[str, Any] = orjson.loads(line)
    except ValueError:
        raise Bad(seq, "the line cannot be read") from None
    return event


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Check an export of the ledger with the public key of its seals.")
    parser.add_argument("export", nargs="+", type=Path, help="JSON lines: archives in their order, then the export")
    parser.add_argument("--key", action="append", type=Path, required=True, help="public key in PEM; may be repeated")
    parser.add_argument("--anchor", type=Path, help="the anchor file, kept outside of the database")
    parser.add_argument("--partial", action="store_true", help="the export need not begin with the first event")
    parser.add_argument("--archive", action="store_true", help="a piece that begins and ends where its name says")
    return parser


def read_name(file: Path) -> re.Match[str]:
    """The parts of an archive's name. Raises ValueError unless it has one, with the hash of its content."""
    found = NAMED.fullmatch(file.name)
    if found is None:
        raise ValueError(f"{file.name} is no name of an archive")
    with file.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != found["sha256"]:
            raise Bad(int(found["first"]), f"the content of {file.name} is not what its name says")
    return found


def check_files(
    files: Sequence[Path], keys: Keys, anchor: bytes | None = None, *, partial: bool = False, archive: bool = False
) -> Result:
    """`check` of files in their order; with `archive`, of pieces that begin and end where their names say.

    Raises OSError, and ValueError when `archive` is said of a file without such a name.
    """
    named = []
    try:
        named = [read_name(file) for file in files if archive or NAMED.fullmatch(file.name)]
    except Bad as bad:
        return Result(False, 0, 0, bad.seq, bad.why)
    last = int(named[-1]["last"]) if archive else None
    return check(_lines(files), keys, anchor, partial or archive, last)


def _lines(files: Iterable[Path]) -> Iterable[bytes]:
    for file in files:
        with file.open("rb") as stream:
            yield from stream


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what was found; 0 sound, 1 touched, 2 a file cannot be used."""
    given = _arguments().parse_args(arguments)
    try:
        keys = read_keys(file.read_bytes() for file in given.key)
        anchor = given.anchor.read_bytes() if given.anchor else None
        found = check_files(given.export, keys, anchor, partial=given.partial, archive=given.archive)
    except (OSError, ValueError) as exc:
        print(f"cannot check: {exc}", file=sys.stderr)
        return 2
    print(found.summary() if found.ok else f"BROKEN at event {found.first_bad}: {found.why}")
    return 0 if found.ok else 1


if __name__ == "__main__":
    sys.exit(main())
