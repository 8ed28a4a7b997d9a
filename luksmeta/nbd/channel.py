"""The bytes of one connection, in the clear or through TLS."""

from __future__ import annotations

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

    Used by one thread at a time; only :meth:`hang_up` is for others. Until :meth:`wait_for_ever`
    everything together may take ``seconds``.
    """

    def __init__(self, connected: socket.socket, *, seconds: float) -> None:
        self._socket = connected
        self._deadline: float | None = time.monotonic() + seconds
        self._flags = getattr(socket, "MSG_WAITALL", 0)
        with suppress(OSError):  # the client may have left already
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
        self._keep_time()
        try:
            self._socket = context.wrap_socket(self._socket, server_side=True)
        except OSError as error:  # ssl.SSLError is one
            raise ConnectionEndedError(f"no TLS: {error}") from error
        self._flags = 0  # which TLS has not

    def wait_for_ever(self) -> None:
        """The other side may take any time from now on."""
        self._deadline = None
        self._socket.settimeout(None)

    def receive(self, size: int) -> bytearray:
        """The next ``size`` bytes."""
        data = bytearray(size)
        self.receive_into(memoryview(data))
        return data

    def receive_into(self, view: memoryview) -> None:
        """Fill ``view`` with the next bytes."""
        while view:
            self._keep_time()
            try:
                count = self._socket.recv_into(view, len(view), self._flags)
            except OSError as error:
                raise ConnectionEndedError(str(error)) from error
            if not count:
                raise ConnectionEndedError("closed by the client")
            view = view[count:]

    def send(self, data: BytesLike, payload: memoryview | None = None) -> None:
        """Send ``data``, and ``payload`` behind it."""
        self._keep_time()
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
            raise ConnectionEndedError(str(error)) from error

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

    def _keep_time(self) -> None:
        if self._deadline is None:
            return
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise ConnectionEndedError("the handshake took too long")
        self._socket.settimeout(left)
