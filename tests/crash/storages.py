"""Storages that watch over write plans, and storages that lie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from luksmeta import MemoryStorage, StorageError
from luksmeta.secret import BytesLike
from luksmeta.storage import Storage
from luksmeta.write_plan import Progress, WritePlan


class PlannedStorage(MemoryStorage):
    """Takes nothing but what a write plan writes, and keeps the plans.

    Plans are seen within :meth:`watched`.
    """

    def __init__(self, data: BytesLike) -> None:
        super().__init__(data, name="planned")
        self.plans: list[WritePlan] = []
        self._is_applying = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """In here every plan that is applied to this storage is noticed."""
        apply = WritePlan.apply

        def noticed(plan: WritePlan, storage: Storage, progress: Progress | None = None) -> None:
            if storage is not self:
                apply(plan, storage, progress)
                return
            self.plans.append(plan)
            self._is_applying = True
            try:
                apply(plan, storage, progress)
            finally:
                self._is_applying = False

        with mock.patch.object(WritePlan, "apply", noticed):
            yield

    def _write(self, offset: int, data: BytesLike) -> None:
        assert self._is_applying, f"{len(data)} bytes written at {offset:#x} without a plan"
        super()._write(offset, data)

    def resize(self, size: int) -> None:
        """Only as a step of a plan."""
        assert self._is_applying, f"resized to {size} without a plan"
        super().resize(size)


class LyingStorage(MemoryStorage):
    """Once told to :meth:`lie`, one call of a kind goes wrong; all others are as they should be.

    ``read fails``, ``read short``, ``write fails``, ``write short`` (half of it lands and an error
    comes), ``write lost`` (nothing lands, an error comes, and nothing is taken from then on),
    ``flush fails``. ``lied`` says whether it came to that.
    """

    LIES = ("read fails", "read short", "write fails", "write short", "write lost", "flush fails")

    def __init__(self, data: BytesLike) -> None:
        super().__init__(data, name="liar")
        self._call, self._how, self._left = "none", "", 0
        self._is_gone = False

    def lie(self, how: str, turn: int) -> None:
        """Get the ``turn``-th call from now on wrong, counted from 0."""
        self._call, self._how = how.split()
        self._left = turn

    def be_honest(self) -> None:
        """No lie from now on, unless the disk is lost already."""
        self._call = "none"

    @property
    def lied(self) -> bool:
        """Whether so many calls were made."""
        return self._left < 0

    def _is_the_turn(self, call: str) -> bool:
        if call != self._call:
            return False
        self._left -= 1
        return self._left == -1

    def _read(self, offset: int, size: int) -> bytes:
        data = super()._read(offset, size)
        if not self._is_the_turn("read"):
            return data
        if self._how == "short":
            return data[: size // 2]
        raise StorageError(f"{self.name}: input/output error")

    def _write(self, offset: int, data: BytesLike) -> None:
        if self._is_the_turn("write"):
            self._is_gone = self._how == "lost"
            if self._how == "short":
                super()._write(offset, data[: len(data) // 2])
            raise StorageError(f"{self.name}: no space left on device")
        if self._is_gone:
            raise StorageError(f"{self.name}: no such device")
        super()._write(offset, data)

    def flush(self) -> None:
        """Fails in its turn."""
        if self._is_the_turn("flush"):
            raise StorageError(f"{self.name}: input/output error")
