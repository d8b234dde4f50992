"""Bytes by their SHA-256, on disk or in memory. A blob is written whole or not at all, and checked when it is read."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import Protocol

from tribute.records import Unknown, Unreadable, sha256


class Blobs(Protocol):
    def put(self, data: bytes) -> str:
        """Stores `data`; returns its hash. Storing twice is harmless."""
        ...

    def get(self, digest: str) -> bytes:
        """Raises Unknown where there is none, Unreadable where the bytes have changed."""
        ...

    def delete(self, digest: str) -> None:
        """Removes a blob; removing what is not there is harmless."""
        ...


def _checked(digest: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise Unknown.of("blob", digest)
    return digest


class DiskBlobs:
    """One file a blob, under two letters of its hash."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        return self.root / _checked(digest)[:2] / digest

    def put(self, data: bytes) -> str:
        digest = sha256(data)
        path = self.path(digest)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data)
        return digest

    def get(self, digest: str) -> bytes:
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError as error:
            raise Unknown.of("blob", digest) from error
        if sha256(data) != digest:
            raise Unreadable(f"blob {digest[:12]}… no longer matches its hash; restore {self.path(digest)} from a backup")
        return data

    def delete(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)


class MemoryBlobs:
    """The twin for tests."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        digest = sha256(data)
        self.held[digest] = data
        return digest

    def get(self, digest: str) -> bytes:
        if _checked(digest) not in self.held:
            raise Unknown.of("blob", digest)
        return self.held[digest]

    def delete(self, digest: str) -> None:
        self.held.pop(_checked(digest), None)


def write_file(path: Path, data: bytes, mode: int = 0o644, replace: bool = True) -> None:
    """Writes beside `path`, flushes to disk, then renames: whoever looks sees the old file, the new one or none.

    Without `replace`, a file that is there already stays.
    """
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        os.chmod(beside, mode)
        if replace:
            os.replace(beside, path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(beside, path)
            os.unlink(beside)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
