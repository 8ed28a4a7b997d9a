"""A client that does what it is told, and a served volume in memory or in a file for it."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import luksmeta
from luksmeta.nbd.export import Export
from luksmeta.nbd.handshake import Offer
from luksmeta.nbd.listening import listen_tcp
from luksmeta.nbd.server import Server
from luksmeta.plaintext_device import PlaintextDevice
from luksmeta.storage import Storage
from tests import builders

SECONDS = 20  # for every answer
ACK, SERVER, INFO, META_CONTEXT = 1, 2, 3, 4
UNSUP, POLICY, INVALID, TLS_REQD, UNKNOWN, TOO_BIG = (2**31 + n for n in (1, 2, 3, 5, 6, 9))
READ, WRITE, DISC, FLUSH, TRIM, WRITE_ZEROES, BLOCK_STATUS = 0, 1, 2, 3, 4, 6, 7
FUA, NO_HOLE, DF, REQ_ONE = 1, 2, 4, 8
EPERM, EIO, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP = 1, 5, 22, 28, 75, 95


@dataclass
class Reply:
    """What a request came to: its error, and what came with it."""

    cookie: int
    error: int = 0
    message: str = ""
    data: bytes = b""
    extents: list[tuple[int, int]] = field(default_factory=list)


class Client:
    """One connection. Options and requests are sent as they are given, right or wrong."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        connected.settimeout(SECONDS)
        self._cookie = 1000
        self._structured = False
        self.size = self.flags = 0

    def receive(self, size: int) -> bytes:
        """So many bytes, fewer only where the server has closed the connection."""
        data = b""
        try:
            while len(data) < size and (part := self.socket.recv(size - len(data))):
                data += part
        except ConnectionResetError:
            pass
        return data

    def greet(self, flags: int = 3) -> None:
        """The two sides' flags."""
        assert self.receive(18) == b"NBDMAGICIHAVEOPT\0\3"
        self.socket.sendall(struct.pack(">I", flags))

    def option(self, number: int, data: bytes = b"") -> list[tuple[int, bytes]]:
        """All replies to an option: their types and data."""
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)
        replies: list[tuple[int, bytes]] = []
        while not replies or replies[-1][0] in (SERVER, INFO, META_CONTEXT):
            magic, option, kind, length = struct.unpack(">QIII", self.receive(20))
            assert (magic, option) == (0x3E889045565A9, number)
            replies.append((kind, self.receive(length)))
        self._structured |= number == 8 and replies[-1][0] == ACK
        return replies

    def go(self, name: bytes = b"", *infos: int, option: int = 7) -> list[tuple[int, bytes]]:
        """Choose the export."""
        data = (
            struct.pack(">I", len(name))
            + name
            + struct.pack(f">{1 + len(infos)}H", len(infos), *infos)
        )
        replies = self.option(option, data)
        for kind, info in replies:
            if kind == INFO and info[:2] == b"\0\0":
                self.size, self.flags = struct.unpack(">QH", info[2:])
        return replies

    def contexts(
        self, *queries: bytes, name: bytes = b"", option: int = 10
    ) -> list[tuple[int, bytes]]:
        """Choose contexts, or list them."""
        texts = [struct.pack(">I", len(text)) + text for text in (name, *queries)]
        return self.option(option, texts[0] + struct.pack(">I", len(queries)) + b"".join(texts[1:]))

    def start(self, *, structured: bool = True) -> Client:
        """The usual handshake."""
        self.greet()
        if structured:
            assert self.option(8) == [(ACK, b"")]
            assert self.contexts(b"base:allocation")[-1] == (ACK, b"")
        assert self.go()[-1] == (ACK, b"")
        return self

    def send(
        self, command: int, offset: int = 0, length: int = 0, data: bytes = b"", flags: int = 0
    ) -> int:
        """Send a request; its cookie."""
        self._cookie += 1
        head = struct.pack(">IHHQQI", 0x25609513, flags, command, self._cookie, offset, length)
        self.socket.sendall(head + data)
        return self._cookie

    def ask(
        self, command: int, offset: int = 0, length: int = 0, data: bytes = b"", flags: int = 0
    ) -> Reply:
        """Send a request, and its reply."""
        cookie = self.send(command, offset, length or len(data), data, flags)
        reply = (
            self._structured_reply() if self._structured else self._simple_reply(command, length)
        )
        assert reply.cookie == cookie
        return reply

    def _simple_reply(self, command: int, length: int) -> Reply:
        magic, error, cookie = struct.unpack(">IIQ", self.receive(16))
        assert magic == 0x67446698
        data = self.receive(length) if command == READ and not error else b""
        return Reply(cookie, error, data=data)

    def _structured_reply(self) -> Reply:
        magic, flags, kind, cookie, length = struct.unpack(">IHHQI", self.receive(20))
        assert (magic, flags) == (0x668E33EF, 1)
        data = self.receive(length)
        match kind:
            case 0:
                return Reply(cookie)
            case 1:
                return Reply(cookie, data=data[8:])
            case 5:
                assert data[:4] == struct.pack(">I", 1)
                return Reply(cookie, extents=list(struct.iter_unpack(">II", data[4:])))
            case _:
                error, size = struct.unpack_from(">IH", data)
                assert len(data) == 6 + size
                return Reply(cookie, error, data[6:].decode())

    def is_closed(self) -> bool:
        """Whether the server ends the connection without another byte."""
        return self.receive(1) == b""


@dataclass
class Served:
    """A running server."""

    server: Server
    device: PlaintextDevice
    export: Export
    address: tuple[str, int]
    storage: Storage
    warnings: list[str]
    log: list[str]

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A new connection."""
        with socket.create_connection(self.address, SECONDS) as connected:
            yield Client(connected)

    def logged(self) -> list[str]:
        """The log, once it has a line."""
        end = time.monotonic() + SECONDS
        while not self.log:
            assert time.monotonic() < end
            time.sleep(0.02)
        return self.log


@contextmanager
def served(
    storage: Storage | None = None,
    *,
    name: str = "",
    description: str = "",
    tls: ssl.SSLContext | None = None,
    writable: bool = True,
    allow_discards: bool = False,
    connections: int = 16,
    handshake_seconds: float = 10,
    request_seconds: float = 600,
) -> Iterator[Served]:
    """Serve a volume, by default a LUKS2 one in memory, on a port of its own."""
    storage = storage or builders.memory("luks2")
    with (
        luksmeta.open(storage, writable=writable) as volume,
        volume.unlock(builders.FIRST) as unlocked,
        unlocked.open(writable=writable) as stream,
    ):
        warnings: list[str] = []
        log: list[str] = []
        device = PlaintextDevice(stream, warn=warnings.append)
        export = Export(device, writable=writable, allow_discards=allow_discards)
        offer = Offer(export, name, description, tls)
        listener = listen_tcp("127.0.0.1", 0)
        with Server(
            listener,
            offer,
            connections=connections,
            handshake_seconds=handshake_seconds,
            request_seconds=request_seconds,
            log=log.append,
        ) as server:
            address = listener.getsockname()[:2]
            yield Served(server, device, export, address, storage, warnings, log)


def file_volume(path: Path) -> luksmeta.FileStorage:
    """The same volume in a file, whose data is a hole."""
    content = builders.image("luks2")
    with path.open("wb") as file:
        file.write(content[: builders.data_offset("luks2")])
        file.truncate(len(content))
    return luksmeta.FileStorage(path, writable=True)
