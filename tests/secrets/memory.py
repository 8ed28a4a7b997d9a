"""The memory of another process: what lies in it, and which of it a core dump would hold.

Read from outside (``/proc/PID/mem``), so that the process itself never holds what is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PIECE: Final = 16  # bytes; half an AES-256 key, and a whole round key of any AES
_DIGIT_BITS: Final = 30  # of Python's integers (sys.int_info)
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)")


@dataclass(frozen=True)
class Region:
    """A writable mapping; ``flags`` are those of ``VmFlags`` in /proc/PID/smaps."""

    start: int
    end: int
    name: str
    flags: frozenset[str]
    data: bytes = field(repr=False)

    @property
    def is_dumped(self) -> bool:
        """Whether a core dump would hold it: ``dd`` is MADV_DONTDUMP's flag."""
        return "dd" not in self.flags

    @property
    def is_locked(self) -> bool:
        """Whether it is kept out of swap."""
        return "lo" in self.flags


def regions(process: int) -> Iterator[Region]:
    """Every mapping that a process which stands still can have written to."""
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for start, end, name, flags in _mappings(Path(f"/proc/{process}/smaps").read_text()):
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except OSError:  # a device's pages
                continue
            yield Region(start, end, name, flags, data)


def forms(secret: bytes) -> list[bytes]:
    """What gives a secret away: each piece of it, as bytes, in hex, and in a Python integer."""
    starts = range(0, max(1, len(secret) - PIECE + 1), PIECE)
    pieces = [secret[start : start + PIECE] for start in starts]
    return [
        *pieces,
        *(piece.hex().encode() for piece in pieces),
        *(digits for part in _columns(secret) for digits in _digits(part)),
    ]


def found(secrets: Mapping[str, bytes], data: bytes) -> list[str]:
    """The names of the secrets that ``data`` holds, whole or in part."""
    return [name for name, secret in secrets.items() if any(form in data for form in forms(secret))]


def _mappings(smaps: str) -> Iterator[tuple[int, int, str, frozenset[str]]]:
    head: re.Match[str] | None = None
    for line in smaps.splitlines():
        if match := _MAPPING.fullmatch(line):
            head = match
        elif line.startswith("VmFlags:") and head is not None and head[3].startswith("rw"):
            yield int(head[1], 16), int(head[2], 16), head[4], frozenset(line.split()[1:])


def _columns(secret: bytes) -> list[bytes]:
    """The parts that code might turn into one integer: all of it, halves, digest-sized ones."""
    sizes = {len(secret), len(secret) // 2, 20, 32, 64} - {0}
    return [
        secret[start : start + size]
        for size in sizes
        for start in range(0, len(secret), size)
        if len(secret[start : start + size]) >= PIECE
    ]


def _digits(part: bytes) -> Iterator[bytes]:
    """An integer's digits as CPython stores them, lowest first, each in four bytes."""
    for order in ("big", "little"):
        number = int.from_bytes(part, order)
        count = number.bit_length() // _DIGIT_BITS  # whole ones
        mask = (1 << _DIGIT_BITS) - 1
        spelled = b"".join(
            (number >> _DIGIT_BITS * n & mask).to_bytes(4, "little") for n in range(count)
        )
        yield spelled[:PIECE]
        yield spelled[-PIECE:]
