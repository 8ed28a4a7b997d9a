"""The volume as its clients see it: what it can do, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from luksmeta.nbd.protocol import (
    LENGTH_MAX,
    ErrorNumber,
    RequestError,
    State,
    TransmissionFlag,
)
from luksmeta.plaintext_device import PlaintextDevice

_ZEROES: Final = bytes(1 << 20)
_PREFERRED: Final = 4096  # bytes; the largest sector that there is


class Export:
    """One plaintext for any number of connections, each with its own thread.

    What is refused is RequestError, what fails the device's OSError.
    """

    minimum_block, preferred_block, maximum_block = 1, _PREFERRED, LENGTH_MAX

    def __init__(
        self, device: PlaintextDevice, *, writable: bool = False, allow_discards: bool = False
    ) -> None:
        self._device = device
        self.writable = writable
        self._allow_discards = allow_discards and writable
        self.size = device.size

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
        self._device.read_into(offset, view)

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of ``data``, which is of no use afterwards."""
        self._require_writable()
        self._device.write(offset, data, in_place=True)

    def write_zeroes(self, offset: int, size: int, is_over: Callable[[], bool]) -> None:
        """Write encrypted zeroes; RequestError in the middle once ``is_over`` says so."""
        self._require_writable()
        for at in range(offset, offset + size, len(_ZEROES)):
            if is_over():
                raise RequestError(ErrorNumber.ESHUTDOWN, "the server ends")
            length = min(len(_ZEROES), offset + size - at)
            self._device.write(at, memoryview(_ZEROES)[:length])

    def trim(self, offset: int, size: int) -> None:
        """Give back the room; what is read there is undefined then."""
        self._require_writable()
        if not self._allow_discards:
            raise RequestError(ErrorNumber.ENOTSUP, "discards are not allowed")
        self._device.discard(offset, size)

    def flush(self) -> None:
        """All that was written is on stable storage then."""
        self._device.flush()

    def states(self, offset: int, size: int) -> Iterator[tuple[int, State]]:
        """How the bytes lie: lengths and states, in order. A hole reads as noise, not as zeroes."""
        for each in self._device.allocation(offset, size):
            state = State.HOLE if each.is_hole else State(0)
            yield each.extent.size, state | State.ZERO if each.is_zero else state

    def _require_writable(self) -> None:
        if not self.writable:
            raise RequestError(ErrorNumber.EPERM, "served read-only")
        self._device.require_safe()
