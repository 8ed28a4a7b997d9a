"""A change as a value: an ordered list of writes with barriers between them.

Every mutation of a header is computed first and applied by :meth:`WritePlan.apply`, the one place
that writes. So a dry run prints the plan, and a test can apply each prefix of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from luksmeta.extents import Extent
from luksmeta.random_bytes import random_bytes
from luksmeta.secret import BytesLike
from luksmeta.storage import Storage

_CHUNK = 1 << 20  # bytes that a Fill or a Copy writes at a time

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes done and the bytes to do."""


@dataclass(frozen=True, slots=True)
class Write:
    """``data`` at ``offset``."""

    offset: int
    data: BytesLike = field(repr=False)
    what: str

    @property
    def extent(self) -> Extent:
        """The bytes that it changes."""
        return Extent(self.offset, len(self.data))

    def pieces(self) -> Iterator[tuple[int, BytesLike]]:
        """What to write where, a bounded piece at a time."""
        yield self.offset, self.data


@dataclass(frozen=True, slots=True)
class Fill:
    """``extent`` overwritten with zeroes, or with random bytes drawn when it is applied."""

    extent: Extent
    what: str
    random: bool

    def pieces(self) -> Iterator[tuple[int, BytesLike]]:
        """What to write where, a bounded piece at a time."""
        for offset in range(self.extent.offset, self.extent.end, _CHUNK):
            size = min(_CHUNK, self.extent.end - offset)
            yield offset, random_bytes(size) if self.random else bytes(size)


@dataclass(frozen=True, slots=True)
class Copy:
    """``extent`` as it lies in another storage, read when it is applied."""

    source: Storage
    extent: Extent
    what: str

    def pieces(self) -> Iterator[tuple[int, BytesLike]]:
        """What to write where, a bounded piece at a time."""
        for offset in range(self.extent.offset, self.extent.end, _CHUNK):
            size = min(_CHUNK, self.extent.end - offset)
            yield offset, self.source.read_at(offset, size)


@dataclass(frozen=True, slots=True)
class Resize:
    """The storage made ``size`` bytes large."""

    size: int
    what: str


@dataclass(frozen=True, slots=True)
class Reserve:
    """Space allocated for the first ``size`` bytes, before anything is overwritten."""

    size: int
    what: str


@dataclass(frozen=True, slots=True)
class Barrier:
    """Nothing behind it is written before everything ahead of it is on stable storage."""


Step: TypeAlias = Write | Fill | Copy | Resize | Reserve | Barrier


@dataclass(frozen=True, slots=True)
class WritePlan:
    """The steps of one change of one storage, in order."""

    what: str
    steps: tuple[Step, ...]

    @classmethod
    def of(cls, what: str, steps: Iterable[Step]) -> WritePlan:
        """A plan of ``steps``, in their order."""
        return cls(what, tuple(steps))

    @property
    def bytes_to_write(self) -> int:
        """How many bytes the plan writes in all."""
        return sum(extent.size for extent in self._extents())

    @property
    def end(self) -> int:
        """The offset of the first byte behind all that it writes."""
        return max((extent.end for extent in self._extents()), default=0)

    def _extents(self) -> Iterator[Extent]:
        return (step.extent for step in self.steps if isinstance(step, Write | Fill | Copy))

    def apply(self, storage: Storage, progress: Progress | None = None) -> None:
        """Carry the plan out; a StorageError leaves the steps before the failed one done."""
        done, total = 0, self.bytes_to_write
        for step in self.steps:
            match step:
                case Barrier():
                    storage.flush()
                case Resize():
                    storage.resize(step.size)
                case Reserve():
                    storage.reserve(step.size)
                case Write() | Fill() | Copy():
                    for offset, data in step.pieces():
                        storage.write_at(offset, data)
                        done += len(data)
                        if progress:
                            progress(done, total)

    def describe(self) -> list[dict[str, int | str]]:
        """The plan for people and programs: one mapping per step, offsets and lengths in bytes."""
        return [_describe(step) for step in self.steps]


def _describe(step: Step) -> dict[str, int | str]:
    match step:
        case Barrier():
            return {"step": "barrier"}
        case Resize() | Reserve():
            name = "resize" if isinstance(step, Resize) else "reserve"
            return {"step": name, "length": step.size, "what": step.what}
        case Write() | Fill() | Copy():
            name = "copy" if isinstance(step, Copy) else "write"
            if isinstance(step, Fill):
                name = "random" if step.random else "zero"
            return {
                "step": name,
                "offset": step.extent.offset,
                "length": step.extent.size,
                "what": step.what,
            }
