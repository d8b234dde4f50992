"""A week's Merkle tree over its transactions' leaves: hashes as in RFC 6962, the root bound to the week and the number of leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def _pair(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _levels(leaves: Sequence[str]) -> list[list[bytes]]:
    """All levels from the leaves up; a node without a neighbour goes up as it is, which is RFC 6962's tree."""
    levels = [[hashlib.sha256(b"\x00" + bytes.fromhex(leaf)).digest() for leaf in leaves]]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([_pair(*below[at : at + 2]) if at + 1 < len(below) else below[at] for at in range(0, len(below), 2)])
    return levels


def bound_root(week: str, count: int, top: bytes) -> str:
    """What is published: no other week and no other number of leaves has it."""
    return hashlib.sha256(f"{week}:{count}:".encode() + top).hexdigest()


def merkle_root(week: str, leaves: Sequence[str]) -> str:
    """The root of hexadecimal leaves in their order; a week without any has one too."""
    return bound_root(week, len(leaves), _levels(leaves)[-1][0] if leaves else hashlib.sha256(b"").digest())


def merkle_path(leaves: Sequence[str], index: int) -> list[str]:
    """The neighbours from leaf `index` up to the root, hexadecimal, each with its side: `<` where it is the left one, `>` the right."""
    path = []
    for level in _levels(leaves)[:-1]:
        other = index ^ 1
        if other < len(level):
            path.append(("<" if other < index else ">") + level[other].hex())
        index //= 2
    return path
