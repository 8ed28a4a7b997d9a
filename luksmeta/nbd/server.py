"""The server: where it listens, and a thread for each connection."""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, Self

from luksmeta.closing import Closing
from luksmeta.nbd.channel import Channel, ConnectionEndedError
from luksmeta.nbd.handshake import Handshake, Offer
from luksmeta.nbd.protocol import ProtocolError
from luksmeta.nbd.transmission import Transmission
from luksmeta.sizes import counted

CONNECTIONS: Final = 16
HANDSHAKE_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 600.0
PATIENCE_SECONDS: Final = 5.0  # for requests that are under way at the end
_LOOK_AGAIN_SECONDS: Final = 0.1  # whether a connection that is too late has ended


class Server(Closing):
    """Serves what is on offer to whoever connects, from ``with`` on until its end.

    More than ``connections`` at once are turned away. ``log`` gets a line for each connection that
    ends otherwise than it should. The handshake may take ``handshake_seconds``, the client's part
    in a request ``request_seconds``, and more where it is large.

    At the end requests under way are answered, and all connections closed; flushing is left to who
    owns the export.
    """

    def __init__(
        self,
        listener: socket.socket,
        offer: Offer,
        *,
        connections: int = CONNECTIONS,
        handshake_seconds: float = HANDSHAKE_SECONDS,
        request_seconds: float = REQUEST_SECONDS,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._listener = listener
        self._offer = offer
        self._connections_max = connections
        self._handshake_seconds = handshake_seconds
        self._request_seconds = request_seconds
        self._log = log
        self._over = threading.Event()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._connections: dict[threading.Thread, Channel] = {}
        self._lock = threading.Lock()
        self._accepting = threading.Thread(target=self._accept, name="nbd", daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def wait(self) -> None:
        """Return when somebody has called :meth:`close`."""
        # Windows tells a thread that waits without an end of no signal.
        while not self._over.wait(0.2 if sys.platform == "win32" else None):
            continue

    def close(self) -> None:
        """End all connections; harmless when repeated."""
        if self._over.is_set():
            return
        self._over.set()
        self._wake_writer.send(b"1")
        self._accepting.join()
        for each in (self._listener, self._wake_reader, self._wake_writer):
            each.close()
        self._hang_up(at_once=False)
        end = time.monotonic() + PATIENCE_SECONDS
        for thread in self._threads():
            thread.join(max(0, end - time.monotonic()))
        self._hang_up(at_once=True)
        for thread in self._threads():
            thread.join()  # the disk's own time: nothing may use the keys when they are wiped

    def _threads(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._connections)

    def _hang_up(self, *, at_once: bool) -> None:
        with self._lock:
            for channel in self._connections.values():
                channel.hang_up(at_once=at_once)

    def _accept(self) -> None:
        self._listener.setblocking(False)
        while not self._over.is_set():
            select.select([self._listener, self._wake_reader], [], [], self._keep_limits())
            try:
                connected, _ = self._listener.accept()
            except BlockingIOError:
                continue
            except OSError as error:  # too many files are open, or the client has left
                self._log(f"no connection: {error}")
                self._over.wait(0.1)
                continue
            self._begin(connected)

    def _keep_limits(self) -> float:
        """End the connections that are too late; the seconds until somebody else can be."""
        with self._lock:
            left = [channel.keep_limit() for channel in self._connections.values()]
        return max(_LOOK_AGAIN_SECONDS, min([self._request_seconds, *left]))

    def _begin(self, connected: socket.socket) -> None:
        with self._lock:
            if len(self._connections) >= self._connections_max:
                self._log(f"turned away: {counted(len(self._connections), 'connection')} open")
                connected.close()
                return
            channel = Channel(connected)
            channel.allow(self._handshake_seconds, "the handshake")
            thread = threading.Thread(target=self._serve, args=(channel,), daemon=True)
            self._connections[thread] = channel
            try:
                thread.start()
            except RuntimeError as error:  # no more threads
                self._log(f"no connection: {error}")
                del self._connections[thread]
                channel.close()

    def _serve(self, channel: Channel) -> None:
        """The whole life of a connection; nothing that happens to it leaves its thread."""
        try:
            agreed = Handshake(channel, self._offer).run()
            if agreed is not None:
                channel.wait_for_ever()
                Transmission(
                    channel,
                    self._offer.export,
                    agreed,
                    seconds=self._request_seconds,
                    is_over=self._over.is_set,
                ).run()
        except (ProtocolError, ConnectionEndedError, MemoryError) as error:
            self._log(f"a connection ended: {error or 'out of memory'}")
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]
                channel.close()
