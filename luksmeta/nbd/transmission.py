"""The second phase of a connection: requests and their replies, one after another.

Source: doc/proto.md of the NetworkBlockDevice project, "Transmission phase".
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from luksmeta.nbd.channel import Channel
from luksmeta.nbd.export import Export
from luksmeta.nbd.handshake import CONTEXT, Agreement
from luksmeta.nbd.protocol import (
    CHUNK,
    CHUNK_DONE,
    CHUNK_ERROR,
    CONTEXT_ID,
    EXTENT,
    LENGTH_MAX,
    OFFSET,
    REQUEST,
    REQUEST_MAGIC,
    SIMPLE_REPLY,
    SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC,
    ChunkType,
    Command,
    CommandFlag,
    ErrorNumber,
    ProtocolError,
    Request,
    RequestError,
)
from luksmeta.sizes import counted

_KEPT: Final = 1 << 20  # bytes of the buffer that stay between requests
_SLOWEST: Final = 64 << 10  # bytes a second that a client can do at least
_EXTENTS_MAX: Final = 4096  # of one reply
_MESSAGE_MAX: Final = 4096  # bytes
_FLAGS: Final[Mapping[int, int]] = {
    Command.READ: int(CommandFlag.DF),
    Command.WRITE: int(CommandFlag.FUA),
    Command.FLUSH: 0,
    Command.TRIM: int(CommandFlag.FUA),
    Command.WRITE_ZEROES: int(CommandFlag.FUA | CommandFlag.NO_HOLE),
    Command.BLOCK_STATUS: int(CommandFlag.REQ_ONE),
}
_NUMBERS: Final = {  # of the system's errors; every other is EIO
    errno.ENOSPC: ErrorNumber.ENOSPC,
    getattr(errno, "EDQUOT", errno.ENOSPC): ErrorNumber.ENOSPC,
    errno.EFBIG: ErrorNumber.ENOSPC,
    errno.EROFS: ErrorNumber.EPERM,
    errno.ENOMEM: ErrorNumber.ENOMEM,
    errno.ENOTSUP: ErrorNumber.ENOTSUP,
}
_FUA: Final = int(CommandFlag.FUA)
_CHANGES: Final = (Command.WRITE, Command.TRIM, Command.WRITE_ZEROES)


class Transmission:
    """The requests of one connection. ``is_over`` is asked between them, and within long ones.

    The client may take ``seconds`` for what it sends behind a request, and for taking its reply,
    and longer for many bytes.
    """

    def __init__(
        self,
        channel: Channel,
        export: Export,
        agreed: Agreement,
        *,
        seconds: float,
        is_over: Callable[[], bool],
    ) -> None:
        self._channel = channel
        self._export = export
        self._agreed = agreed
        self._seconds = seconds
        self._is_over = is_over
        self._header = bytearray(REQUEST.size)
        self._buffer = bytearray()

    def run(self) -> None:
        """Answer until the client takes its leave; ProtocolError, ConnectionEndedError."""
        while not self._is_over():
            self._channel.receive_into(memoryview(self._header))
            magic, *fields = REQUEST.unpack(self._header)
            if magic != REQUEST_MAGIC:
                raise ProtocolError(f"request with magic {magic:#x}")
            request = Request(*fields)
            if request.command == Command.DISC:
                return
            payload = self._payload(request)
            try:
                self._answer(request, payload)
            except RequestError as error:
                self._reply_error(request, error.number, str(error))
            except OSError as error:  # the device's
                number = _NUMBERS.get(error.errno or 0, ErrorNumber.EIO)
                self._reply_error(request, number, error.strerror or str(error))
            if len(self._buffer) > _KEPT:
                self._buffer = bytearray()

    def _payload(self, request: Request) -> memoryview:
        """What the client sends behind a write, whether that is allowed or not."""
        if request.command != Command.WRITE:
            return memoryview(b"")
        if request.length > LENGTH_MAX:
            raise ProtocolError(f"write of {request.length} bytes, {LENGTH_MAX} at most")
        payload = self._room(request.length)
        self._allow(request.length)
        self._channel.receive_into(payload)
        self._channel.wait_for_ever()
        return payload

    def _answer(self, request: Request, payload: memoryview) -> None:
        self._check(request)
        match request.command:
            case Command.READ:
                self._read(request)
                return
            case Command.BLOCK_STATUS:
                self._block_status(request)
                return
            case Command.WRITE:
                self._export.write(request.offset, payload)
            case Command.WRITE_ZEROES:
                self._export.write_zeroes(request.offset, request.length, self._is_over)
            case Command.TRIM:
                self._export.trim(request.offset, request.length)
            case _:
                self._export.flush()
        if request.flags & _FUA:
            self._export.flush()
        self._reply_done(request)

    def _check(self, request: Request) -> None:
        """RequestError for what makes no sense here."""
        known = _FLAGS.get(request.command)
        if known is None:
            raise RequestError(ErrorNumber.EINVAL, f"command {request.command} is not known here")
        if request.flags & ~known:
            raise RequestError(ErrorNumber.EINVAL, f"flags {request.flags:#x} are not known here")
        if request.command == Command.FLUSH:
            return
        if request.offset + request.length > self._export.size:
            number = ErrorNumber.ENOSPC if request.command in _CHANGES else ErrorNumber.EINVAL
            raise RequestError(
                number,
                f"{counted(request.length, 'byte')} at {request.offset:#x}, it ends at "
                f"{self._export.size:#x}",
            )

    def _read(self, request: Request) -> None:
        if request.length > LENGTH_MAX:
            raise RequestError(
                ErrorNumber.EOVERFLOW, f"read of {request.length} bytes, {LENGTH_MAX} at most"
            )
        data = self._room(request.length)
        self._export.read_into(request.offset, data)
        if not self._agreed.structured:
            self._send(SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, 0, request.cookie), data)
        elif not data:
            self._reply_done(request)
        else:
            place = OFFSET.pack(request.offset)
            length = len(place) + len(data)
            self._send(_chunk(request, ChunkType.OFFSET_DATA, length) + place, data)

    def _block_status(self, request: Request) -> None:
        if not self._agreed.has_context:
            raise RequestError(ErrorNumber.EINVAL, "no context was agreed on")
        if not request.length:
            raise RequestError(ErrorNumber.EINVAL, "the state of no bytes")
        count = 1 if request.flags & CommandFlag.REQ_ONE else _EXTENTS_MAX
        states = islice(self._export.states(request.offset, request.length), count)
        extents = b"".join(EXTENT.pack(length, state) for length, state in states)
        data = CONTEXT_ID.pack(CONTEXT) + extents
        self._send(_chunk(request, ChunkType.BLOCK_STATUS, len(data)) + data)

    def _reply_done(self, request: Request) -> None:
        if self._agreed.structured:
            self._send(_chunk(request, ChunkType.NONE, 0))
        else:
            self._send(SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, 0, request.cookie))

    def _reply_error(self, request: Request, number: ErrorNumber, text: str) -> None:
        if not self._agreed.structured:
            reply = SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, number, request.cookie)
        else:
            message = text.encode(errors="replace")[:_MESSAGE_MAX]
            data = CHUNK_ERROR.pack(number, len(message)) + message
            reply = _chunk(request, ChunkType.ERROR, len(data)) + data
        self._send(reply)

    def _send(self, head: bytes, data: memoryview | None = None) -> None:
        self._allow(len(head) + len(data or b""))
        self._channel.send(head, data)
        self._channel.wait_for_ever()

    def _allow(self, size: int) -> None:
        """The client may take its time, but not for ever: its request holds memory meanwhile."""
        self._channel.allow(self._seconds + size / _SLOWEST, "a request")

    def _room(self, size: int) -> memoryview:
        """So much of the buffer, with whatever it holds."""
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        return memoryview(self._buffer)[:size]


def _chunk(request: Request, kind: ChunkType, length: int) -> bytes:
    """The head of a reply's only chunk."""
    return CHUNK.pack(STRUCTURED_REPLY_MAGIC, CHUNK_DONE, kind, request.cookie, length)
