"""The plaintext as a block device for other programs, whatever way it reaches them."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from luksmeta.errors import LuksError, StorageError, UnsupportedError
from luksmeta.secret import BytesLike
from luksmeta.segment_stream import Allocation, SegmentStream


class PlaintextDevice:
    """One plaintext for any number of threads; every error is an OSError with a number and a text.

    The number is the system's where it gave one, ENOTSUP for what the disk cannot do, else EIO.

    After a failed flush nobody knows what of the data is on stable storage (the kernel drops the
    pages after telling once), so that every later write and flush fails with EIO, and ``warn`` is
    told.
    """

    def __init__(
        self, stream: SegmentStream, *, warn: Callable[[str], None] = lambda text: None
    ) -> None:
        self._stream = stream
        self._warn = warn
        self._lost: str | None = None
        self._flush_lock = threading.Lock()
        self.size = stream.size

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes, fewer at the end only."""
        with _errors():
            return self._stream.read_at(offset, size)

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill ``view`` from ``offset`` on."""
        with _errors():
            self._stream.read_into_at(offset, view)

    def write(self, offset: int, data: BytesLike, *, in_place: bool = False) -> None:
        """Write all of ``data``; ``in_place`` says that it is of no use afterwards."""
        self.require_safe()
        with _errors():
            self._stream.write_at(offset, data, in_place=in_place)

    def discard(self, offset: int, size: int) -> None:
        """Give back the room; what is read there is undefined then."""
        self.require_safe()
        with _errors():
            self._stream.discard(offset, size)

    def flush(self) -> None:
        """All that was written is on stable storage then."""
        with self._flush_lock:
            self.require_safe()
            try:
                with _errors():
                    self._stream.flush()
            except OSError as error:
                self._lost = error.strerror
                self._warn(f"a flush failed, nothing more is written: {self._lost}")
                raise

    def finish(self) -> None:
        """Flush for the last time, with nobody left to be told of it: StorageError."""
        try:
            self.flush()
        except OSError as error:
            raise StorageError(f"not all that was written is safe: {error.strerror}") from error

    def allocation(self, offset: int, size: int) -> Iterator[Allocation]:
        """What ``size`` bytes at ``offset`` are like, in order, without gaps."""
        with _errors():
            yield from self._stream.allocation(offset, size)

    def require_safe(self) -> None:
        """OSError after a failed flush."""
        if self._lost is not None:
            text = f"an earlier flush failed, nothing more is written: {self._lost}"
            raise OSError(errno.EIO, text)


@contextmanager
def _errors() -> Iterator[None]:
    """OSError with number and text for everything that can go wrong with a volume."""
    try:
        yield
    except UnsupportedError as error:
        raise OSError(errno.ENOTSUP, str(error)) from error
    except (LuksError, OSError, ValueError) as error:  # ValueError: the stream is closed
        cause = error.__cause__ if isinstance(error, LuksError) else error
        number = cause.errno if isinstance(cause, OSError) else None
        raise OSError(number or errno.EIO, str(error)) from error
    except MemoryError as error:
        raise OSError(errno.ENOMEM, "out of memory") from error
