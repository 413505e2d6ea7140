"""Seals: signed statements of where the chain was, and the files that keep keys and seals outside the database."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from interlock import errors
from interlock.observability.verify import Seal, key_id, read_keys, signed

__all__ = ["Proof", "Seal", "Signer", "append", "rotate", "sync"]

_KEY = "seal.pem"
_PUBLIC = "seal_keys"
_TAIL = 64 * 1024


@dataclass(frozen=True)
class Proof:
    """Where a plane keeps what proves its ledger: the home with the keys, and what is set elsewhere."""

    home: Path
    key_file: Path | None = None
    anchor_file: Path | None = None
    archive_folder: Path | None = None

    @property
    def anchor(self) -> Path:
        return self.anchor_file or self.home / "anchor.jsonl"

    @property
    def archives(self) -> Path:
        return self.archive_folder or self.home / "archives"

    @property
    def private(self) -> Path:
        return self.key_file or self.home / _KEY

    def keys(self) -> dict[str, Ed25519PublicKey]:
        """Every public key that was ever used here. Raises ConfigurationError when one cannot be read."""
        files = sorted((self.home / _PUBLIC).glob("*.pem"))
        try:
            return read_keys(file.read_bytes() for file in files)
        except (OSError, ValueError) as exc:
            raise errors.ConfigurationError(
                f"a public key in {self.home / _PUBLIC} cannot be read: {exc}", "put the file back from a copy"
            ) from exc

    def anchored(self) -> bytes | None:
        """What the anchor holds; None when there is none."""
        return self.anchor.read_bytes() if self.anchor.exists() else None

    def signer(self) -> Signer:
        """The key that seals, made at its first use. Raises ConfigurationError when it cannot be used."""
        if not self.private.exists() and self.key_file is None:
            _create(self.private)
        key = _load(self.private)
        signer = Signer(key, key_id(key.public_key()))
        public = self.home / _PUBLIC / f"{signer.key_id}.pem"
        if not public.exists():
            pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            _write(public, pem, 0o644)
        return signer


@dataclass(frozen=True)
class Signer:
    """A private key and its id."""

    key: Ed25519PrivateKey
    key_id: str

    def seal(self, stream: str, seq: int, hash: str, at: str) -> Seal:
        signature = self.key.sign(signed(stream, seq, hash, at, self.key_id)).hex()
        return Seal(stream, seq, hash, at, self.key_id, signature)


def rotate(proof: Proof) -> str:
    """Make a new key in the home; the public half of the old one stays. Gives the new id.

    Raises ConfigurationError when the key is set elsewhere: whoever set it changes it there.
    """
    if proof.key_file is not None:
        raise errors.ConfigurationError("the key is set by seal_key_file", "put another key into that file")
    if proof.private.exists():
        proof.signer()
    _create(proof.private)
    return proof.signer().key_id


def append(file: Path, seals: Iterable[Seal]) -> None:
    """Add seals to an anchor file, a line each, durable when this returns. A torn last line is left and ended.

    Whatever another process added meanwhile is not added again. Raises StorageError when the last line is no seal.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        last, torn = _end(stream)
        lines = b"".join(orjson.dumps(seal._asdict()) + b"\n" for seal in seals if seal.seq > last)
        stream.write(b"\n" + lines if torn else lines)
        stream.flush()
        os.fsync(stream.fileno())
    sync(file.parent)


def _end(stream: BinaryIO) -> tuple[int, bool]:
    """The number of the last whole seal, and whether a torn line follows it."""
    stream.seek(max(stream.seek(0, os.SEEK_END) - _TAIL, 0))
    *whole, torn = stream.read().split(b"\n")
    ends = [line for line in whole if line.endswith(b"}")]
    try:
        return (orjson.loads(ends[-1])["seq"] if ends else 0), bool(torn)
    except (ValueError, KeyError, TypeError) as exc:
        raise errors.StorageError(f"the end of {stream.name} is no seal", "run `interlock audit verify`") from exc


def _load(file: Path) -> Ed25519PrivateKey:
    try:
        if file.stat().st_mode & 0o077:
            raise errors.ConfigurationError(f"{file} can be read by others", f"chmod 600 {file}")
        key = load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError) as exc:
        raise errors.ConfigurationError(f"the key {file} cannot be used: {exc}", "give an Ed25519 key in PEM") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise errors.ConfigurationError(f"{file} holds no Ed25519 key", "give an Ed25519 key in PEM")
    return key


def _create(file: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(file, pem, 0o600)


def _write(file: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, also when the machine stops in between."""
    file.parent.mkdir(parents=True, exist_ok=True)
    made = file.with_name(f"{file.name}.new")
    made.unlink(missing_ok=True)
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    made.replace(file)
    sync(file.parent)


def sync(folder: Path) -> None:
    """Make durable what files a folder has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
