"""The volume as its clients see it: what it can do, and how it fails."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from luksmeta.errors import LuksError, StorageError, UnsupportedError
from luksmeta.nbd.protocol import (
    LENGTH_MAX,
    ErrorNumber,
    RequestError,
    State,
    TransmissionFlag,
)
from luksmeta.segment_stream import SegmentStream

_ZEROES: Final = bytes(1 << 20)
_PREFERRED: Final = 4096  # bytes; the largest sector that there is
_NUMBERS: Final = {
    errno.ENOSPC: ErrorNumber.ENOSPC,
    getattr(errno, "EDQUOT", errno.ENOSPC): ErrorNumber.ENOSPC,
    errno.EFBIG: ErrorNumber.ENOSPC,
    errno.EROFS: ErrorNumber.EPERM,
    errno.ENOMEM: ErrorNumber.ENOMEM,
}


class Export:
    """One plaintext for any number of connections, each with its own thread.

    Errors are RequestError. After a failed flush nobody knows what of the data is on stable
    storage, so that every later write and flush fails as well, and ``warn`` is told.
    """

    minimum_block, preferred_block, maximum_block = 1, _PREFERRED, LENGTH_MAX

    def __init__(
        self,
        stream: SegmentStream,
        *,
        writable: bool = False,
        allow_discards: bool = False,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._stream = stream
        self.writable = writable
        self._allow_discards = allow_discards and writable
        self._warn = warn
        self._lost: str | None = None
        self._flush_lock = threading.Lock()
        self.size = stream.size

    @property
    def flags(self) -> TransmissionFlag:
        """What it can do: a flush on one connection is one of what was written on all."""
        flags = TransmissionFlag.HAS_FLAGS | TransmissionFlag.CAN_MULTI_CONN
        flags |= TransmissionFlag.SEND_FLUSH | TransmissionFlag.SEND_DF
        if not self.writable:
            return flags | TransmissionFlag.READ_ONLY
        flags |= TransmissionFlag.SEND_FUA | TransmissionFlag.SEND_WRITE_ZEROES
        return flags | TransmissionFlag.SEND_TRIM if self._allow_discards else flags

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill ``view`` from ``offset`` on."""
        with _errors():
            self._stream.read_into_at(offset, view)

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of ``data``, which is of no use afterwards."""
        self._require_writable()
        with _errors():
            self._stream.write_at(offset, data, in_place=True)

    def write_zeroes(self, offset: int, size: int, is_over: Callable[[], bool]) -> None:
        """Write encrypted zeroes; RequestError in the middle once ``is_over`` says so."""
        self._require_writable()
        for at in range(offset, offset + size, len(_ZEROES)):
            if is_over():
                raise RequestError(ErrorNumber.ESHUTDOWN, "the server ends")
            length = min(len(_ZEROES), offset + size - at)
            with _errors():
                self._stream.write_at(at, memoryview(_ZEROES)[:length])

    def trim(self, offset: int, size: int) -> None:
        """Give back the room; what is read there is undefined then."""
        self._require_writable()
        if not self._allow_discards:
            raise RequestError(ErrorNumber.ENOTSUP, "discards are not allowed")
        with _errors():
            self._stream.discard(offset, size)

    def flush(self) -> None:
        """All that was written is on stable storage then."""
        if not self.writable:
            return
        with self._flush_lock:
            self._require_safe()
            try:
                with _errors():
                    self._stream.flush()
            except RequestError as error:
                self._lost = str(error)
                self._warn(f"a flush failed, nothing more is written: {error}")
                raise

    def finish(self) -> None:
        """Flush for the last time, with nobody left to be told of it: StorageError."""
        try:
            self.flush()
        except RequestError as error:
            raise StorageError(f"not all that was written is safe: {error}") from error

    def states(self, offset: int, size: int) -> Iterator[tuple[int, State]]:
        """How the bytes lie: lengths and states, in order. A hole reads as noise, not as zeroes."""
        with _errors():
            for each in self._stream.allocation(offset, size):
                state = State.HOLE if each.is_hole else State(0)
                yield each.extent.size, state | State.ZERO if each.is_zero else state

    def _require_writable(self) -> None:
        if not self.writable:
            raise RequestError(ErrorNumber.EPERM, "served read-only")
        self._require_safe()

    def _require_safe(self) -> None:
        if self._lost is not None:
            raise RequestError(
                ErrorNumber.EIO, f"an earlier flush failed, nothing more is written: {self._lost}"
            )


@contextmanager
def _errors() -> Iterator[None]:
    """RequestError for everything that can go wrong with a volume."""
    try:
        yield
    except UnsupportedError as error:
        raise RequestError(ErrorNumber.ENOTSUP, str(error)) from error
    except (LuksError, OSError, ValueError) as error:  # ValueError: the stream is closed
        cause = error.__cause__ if isinstance(error, LuksError) else error
        number = cause.errno if isinstance(cause, OSError) else None
        raise RequestError(_NUMBERS.get(number or 0, ErrorNumber.EIO), str(error)) from error
    except MemoryError as error:
        raise RequestError(ErrorNumber.ENOMEM, "out of memory") from error
