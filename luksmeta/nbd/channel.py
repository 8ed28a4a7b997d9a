"""The bytes of one connection, in the clear or through TLS."""

from __future__ import annotations

import math
import socket
import ssl
import time
from contextlib import suppress

from luksmeta.secret import BytesLike

_BUFFER = 1 << 20  # bytes that the kernel holds for the other side: a large reply at once


class ConnectionEndedError(Exception):
    """The other side has gone, or has taken too long."""


class Channel:
    """A connected socket: receives and sends all that is asked for, or ConnectionEndedError.

    Used by one thread at a time; only :meth:`hang_up` and :meth:`keep_limit` are for others. It
    waits for as long as it takes: :meth:`allow` sets a limit, and another thread keeps it.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._limit: tuple[float, str] | None = None  # when, and what to say then
        self._late: str | None = None
        self._flags = getattr(socket, "MSG_WAITALL", 0)
        with suppress(OSError):  # the client may have left already
            connected.setblocking(True)  # some systems hand on what the listener is
            if connected.family == getattr(socket, "AF_UNIX", None):
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            else:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    @property
    def is_private(self) -> bool:
        """Whether it goes through TLS."""
        return isinstance(self._socket, ssl.SSLSocket)

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Go on through TLS, as its server."""
        try:
            self._socket = context.wrap_socket(
                self._socket, server_side=True, do_handshake_on_connect=False
            )
            self._socket.do_handshake()  # by now hang_up reaches it
        except OSError as error:  # ssl.SSLError is one
            raise self._ended(f"no TLS: {error}") from error
        self._flags = 0  # which TLS has not

    def allow(self, seconds: float, what: str) -> None:
        """What comes until :meth:`wait_for_ever` may take so long; ``what`` has that limit."""
        self._limit = time.monotonic() + seconds, f"{what} took too long"

    def wait_for_ever(self) -> None:
        """The other side may take any time from now on."""
        self._limit = None

    def keep_limit(self) -> float:
        """The seconds that are left, perhaps infinity; where none are, the connection ends."""
        limit = self._limit
        if limit is None:
            return math.inf
        left = limit[0] - time.monotonic()
        if left <= 0:
            self._late = limit[1]
            self.hang_up(at_once=True)
        return left

    def receive(self, size: int) -> bytearray:
        """The next ``size`` bytes."""
        data = bytearray(size)
        self.receive_into(memoryview(data))
        return data

    def receive_into(self, view: memoryview) -> None:
        """Fill ``view`` with the next bytes."""
        while view:
            try:
                count = self._socket.recv_into(view, len(view), self._flags)
            except OSError as error:
                raise self._ended(str(error)) from error
            if not count:
                raise self._ended("closed by the client")
            view = view[count:]

    def send(self, data: BytesLike, payload: memoryview | None = None) -> None:
        """Send ``data``, and ``payload`` behind it."""
        try:
            if payload is None or self.is_private or not hasattr(self._socket, "sendmsg"):
                self._socket.sendall(data)
                sent = 0
            else:
                sent = self._socket.sendmsg([data, payload])
                self._socket.sendall(memoryview(data)[sent:])
                sent = max(0, sent - len(data))
            if payload is not None and sent < len(payload):
                self._socket.sendall(payload[sent:])
        except OSError as error:
            raise self._ended(str(error)) from error

    def hang_up(self, *, at_once: bool) -> None:
        """Take nothing more from the other side; ``at_once``: send nothing more either."""
        how = socket.SHUT_RDWR if at_once else socket.SHUT_RD
        try:
            socket.socket.shutdown(self._socket, how)  # SSLSocket's own would forget its state
        except OSError:  # gone already
            return

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def _ended(self, reason: str) -> ConnectionEndedError:
        return ConnectionEndedError(self._late or reason)
