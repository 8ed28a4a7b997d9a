"""What goes wrong with a disk is an error with a number, and a failed flush is not forgotten."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import luksmeta
from luksmeta import StorageError, UnsupportedError
from luksmeta.plaintext_device import PlaintextDevice
from luksmeta.secret import BytesLike
from tests import builders


class _Disk(luksmeta.MemoryStorage):
    """Raises what it is given; memory has no holes to punch."""

    error: BaseException | None = None
    cause: BaseException | None = None

    def _write(self, offset: int, data: BytesLike) -> None:
        self._fail()
        super()._write(offset, data)

    def flush(self) -> None:
        self._fail()

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error from self.cause


@contextmanager
def _device(
    warn: Callable[[str], None] = lambda text: None,
) -> Iterator[tuple[PlaintextDevice, _Disk]]:
    disk = _Disk(builders.image("luks2"))
    with (
        luksmeta.open(disk, writable=True) as volume,
        volume.unlock(builders.FIRST) as unlocked,
        unlocked.open(writable=True) as stream,
    ):
        yield PlaintextDevice(stream, warn=warn), disk
        disk.error = None


@pytest.mark.parametrize(
    ("error", "cause", "number", "text"),
    [
        (StorageError("full"), OSError(errno.ENOSPC, ""), errno.ENOSPC, "full"),
        (StorageError("odd"), None, errno.EIO, "odd"),
        (StorageError("odd"), OSError("no number"), errno.EIO, "odd"),
        (OSError(errno.EROFS, "read only"), None, errno.EROFS, "[Errno 30] read only"),
        (ValueError("closed"), None, errno.EIO, "closed"),
        (UnsupportedError("cannot"), None, errno.ENOTSUP, "cannot"),
        (MemoryError(), None, errno.ENOMEM, "out of memory"),
    ],
)
def test_every_error_has_a_number_and_a_text(
    error: BaseException, cause: BaseException | None, number: int, text: str
) -> None:
    with _device() as (device, disk):
        disk.error, disk.cause = error, cause
        with pytest.raises(OSError, match="Errno") as raised:
            device.write(0, bytes(512))
        assert (raised.value.errno, raised.value.strerror) == (number, text)
        disk.error = None
        device.write(0, bytes(512))


def test_what_lies_behind_the_end_and_what_memory_cannot_do() -> None:
    with _device() as (device, _):
        assert device.read(device.size - 1, 10) == device.read(device.size - 1, 1)
        with pytest.raises(OSError, match=rf"^\[Errno {errno.EIO}\].* past the volume's end"):
            device.read_into(device.size, memoryview(bytearray(1)))
        with pytest.raises(OSError, match=rf"^\[Errno {errno.ENOTSUP}\]"):
            device.discard(0, 512)


def test_after_a_failed_flush_nothing_is_written_and_the_end_tells() -> None:
    said: list[str] = []
    with _device(said.append) as (device, disk):
        device.finish()
        disk.error = StorageError("no flush")
        with pytest.raises(OSError, match=r"\] no flush$"):
            device.flush()
        disk.error = None
        assert said == ["a flush failed, nothing more is written: no flush"]
        content = bytes(disk.data)
        for change in (
            device.flush,
            device.require_safe,
            lambda: device.write(0, b"lost"),
            lambda: device.discard(0, 512),
        ):
            with pytest.raises(OSError, match=rf"^\[Errno {errno.EIO}\] an earlier flush failed"):
                change()
        assert disk.data == content
        assert len(device.read(0, 512)) == 512
        with pytest.raises(StorageError, match=r"^not all .* earlier flush failed.*: no flush$"):
            device.finish()
        assert len(said) == 1
