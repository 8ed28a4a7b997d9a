"""Storages that misbehave on purpose."""

from __future__ import annotations

from luksmeta import MemoryStorage, StorageError
from luksmeta.secret import BytesLike


class UntouchedStorage(MemoryStorage):
    """Claims to be writable and fails the test when something is written."""

    def _write(self, offset: int, data: BytesLike) -> None:
        raise AssertionError(f"{len(data)} bytes written at {offset:#x}")

    def resize(self, size: int) -> None:
        """Fail the test as well."""
        raise AssertionError(f"resized to {size}")


class FailingStorage(MemoryStorage):
    """Takes ``writes`` writes; half of the next one lands, and all after it fail."""

    def __init__(self, data: BytesLike | int, *, writes: int) -> None:
        super().__init__(data, name="failing")
        self.writes_left = writes

    def _write(self, offset: int, data: BytesLike) -> None:
        self.writes_left -= 1
        if self.writes_left == -1:
            super()._write(offset, data[: len(data) // 2])
        if self.writes_left < 0:
            raise StorageError(f"{self.name}: no space left on device")
        super()._write(offset, data)


class UnreadableStorage(MemoryStorage):
    """Reads that touch ``bad`` bytes come back short, as from a disk with bad sectors."""

    def __init__(self, data: BytesLike, bad: range) -> None:
        super().__init__(data, name="unreadable")
        self._bad = bad

    def _read(self, offset: int, size: int) -> bytes:
        data = super()._read(offset, size)
        if offset < self._bad.stop and self._bad.start < offset + size:
            return data[: max(0, self._bad.start - offset)]
        return data
