"""Connections: how many, how they end, and that the bad ones cost nobody else anything."""

from __future__ import annotations

import itertools
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta import StorageBusyError, StorageError
from luksmeta.nbd import listening
from tests import builders
from tests.corpus import stream
from tests.nbd.client import READ, WRITE, WRITE_ZEROES, Client, Served, served
from tests.requirement import missing

_DATA = stream("nbd/server", 5000)


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture(name="good", scope="module")
def _good(server: Served) -> Iterator[Client]:
    """A client that stays, whatever the others do."""
    with server.client() as client:
        client.start()
        assert client.ask(WRITE, 300, data=_DATA).error == 0
        yield client


def _is_served(client: Client) -> None:
    assert client.ask(READ, 300, len(_DATA)).data == _DATA


@settings(max_examples=60, deadline=None)
@given(sent=st.binary(max_size=200))
def test_random_bytes_in_the_handshake(server: Served, good: Client, sent: bytes) -> None:
    with server.client() as client:
        client.socket.sendall(sent)
    _is_served(good)


_HEAD = b"\x25\x60\x95\x13"
_requests = st.builds(
    lambda flags, command, offset, length, tail: (
        _HEAD + struct.pack(">HHQQI", flags, command, 1, offset, length) + tail
    ),
    st.sampled_from((0, 1, 4, 8, 0xFFFF)),
    st.sampled_from((0, 2, 3, 4, 5, 7, 9, 0xFFFF)),  # nothing that would change the good one's data
    st.sampled_from((0, 1, builders.DATA_SIZE, 2**63, 2**64 - 1)),
    st.sampled_from((0, 1, 512, builders.DATA_SIZE, 2**31, 2**32 - 1)),
    st.binary(max_size=40),
)


@settings(max_examples=100, deadline=None)
@given(requests=st.lists(_requests, max_size=5), cut=st.integers(0, 60))
def test_random_requests(server: Served, good: Client, requests: list[bytes], cut: int) -> None:
    with server.client() as client:
        client.start()
        sent = b"".join(requests)
        client.socket.sendall(sent[: max(0, len(sent) - cut)])
    _is_served(good)


@pytest.mark.parametrize("length", [(32 << 20) + 1, 2**32 - 1])
def test_a_write_without_measure_ends_its_connection(
    server: Served, good: Client, length: int
) -> None:
    with server.client() as client:
        client.start()
        client.send(WRITE, 0, length)
        assert client.is_closed()
    _is_served(good)


@pytest.mark.parametrize("sent", [0, 1, 700])
def test_a_client_that_vanishes_in_the_middle_of_a_write_has_written_nothing(sent: int) -> None:
    with served() as running:
        with running.client() as client:
            client.start()
            before = client.ask(READ, 0, 4096).data
            client.send(WRITE, 0, 4096, b"x" * sent)
        with running.client() as client:
            client.start()
            assert client.ask(READ, 0, 4096).data == before


def test_a_client_that_reads_no_replies_holds_up_nobody(server: Served, good: Client) -> None:
    with server.client() as client:
        client.start()
        for _ in range(200):
            client.send(READ, 0, builders.DATA_SIZE)
        _is_served(good)
    _is_served(good)


def test_a_request_with_another_magic_ends_its_connection(server: Served, good: Client) -> None:
    with server.client() as client:
        client.start()
        client.socket.sendall(bytes(28))
        assert client.is_closed()
    _is_served(good)


def test_more_connections_than_allowed_are_turned_away_until_one_ends() -> None:
    with served(connections=2) as running, running.client() as first:
        first.start()
        with running.client() as second:
            second.start()
            with running.client() as third:
                assert third.is_closed()
        end = time.monotonic() + 20
        while True:
            with running.client() as client:
                if client.receive(18):
                    break
            assert time.monotonic() < end
        assert first.ask(READ, 0, 512).error == 0


def test_the_end_answers_what_is_under_way_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with served() as running, running.client() as idle, running.client() as half:
        idle.start()
        half.start()
        half.send(WRITE, 0, 4096, b"half")
        begun = time.monotonic()
        running.server.close()
        assert time.monotonic() - begun < 4
        assert idle.is_closed()
        assert half.is_closed()
        with pytest.raises(ConnectionRefusedError):
            running.client().__enter__()
        running.server.close()
    assert threading.active_count() == before


def test_a_client_that_reads_nothing_cannot_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("luksmeta.nbd.server.PATIENCE_SECONDS", 0.2)
    before = threading.active_count()
    with served() as running, running.client() as client:
        client.start()
        reads, read_into = itertools.count(), running.export.read_into

        def counted(offset: int, view: memoryview) -> None:
            next(reads)
            read_into(offset, view)

        monkeypatch.setattr(running.export, "read_into", counted)
        for _ in range(3000):
            client.send(READ, 0, builders.DATA_SIZE)
        seen, now = "", repr(reads)
        while now != seen:  # until its replies fill every buffer on the way
            time.sleep(0.1)
            seen, now = now, repr(reads)
        assert now != "count(3000)"
        begun = time.monotonic()
        running.server.close()
        assert time.monotonic() - begun < 4
        assert threading.active_count() == before


def test_the_end_interrupts_a_long_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with served() as running, running.client() as client:
        client.start()
        monkeypatch.setattr("luksmeta.nbd.export._ZEROES", bytes(1))
        written = threading.Event()
        write = running.device.write

        def slow(*arguments: object, **options: object) -> None:
            write(*arguments, **options)  # type: ignore[arg-type]
            written.set()
            time.sleep(0.01)

        monkeypatch.setattr(running.device, "write", slow)
        client.send(WRITE_ZEROES, 0, builders.DATA_SIZE)  # ten minutes of it
        assert written.wait(20)
        running.server.close()
        reply = client._structured_reply()
        assert (reply.error, reply.message) == (108, "the server ends")


# --- clients that stall ---------------------------------------------------------------------------


@pytest.mark.parametrize("is_dripping", [False, True])
def test_a_write_that_does_not_arrive_in_time_ends_its_connection_alone(is_dripping: bool) -> None:
    with (
        served(request_seconds=0.3) as running,
        running.client() as idle,
        running.client() as client,
    ):
        idle.start()
        client.start()
        before = idle.ask(READ, 0, 4096).data
        begun = time.monotonic()
        client.send(WRITE, 0, 4096, b"x" * 2000)
        while not running.log:
            assert time.monotonic() < begun + 20
            time.sleep(0.05)
            if is_dripping:
                with suppress(OSError):  # cut off by now
                    client.socket.sendall(b"x")
        assert running.log == ["a connection ended: a request took too long"]
        assert 0.3 <= time.monotonic() - begun < 10
        assert client.is_closed()
        assert idle.ask(READ, 0, 4096).data == before


def test_a_reply_that_is_not_taken_in_time_ends_its_connection() -> None:
    with served(request_seconds=0.3) as running, running.client() as client:
        client.start()
        with suppress(OSError):
            for _ in range(3000):
                client.send(READ, 0, builders.DATA_SIZE)
        assert running.logged() == ["a connection ended: a request took too long"]


def test_large_requests_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luksmeta.nbd.transmission._SLOWEST", 1)
    with served(request_seconds=0.1) as running, running.client() as client:
        client.start()
        client.send(WRITE, 0, 512, b"x" * 500)
        time.sleep(0.5)
        client.socket.sendall(b"x" * 12)
        assert client._structured_reply().error == 0


def test_the_disk_may_take_as_long_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(request_seconds=0.1) as running, running.client() as client:
        client.start()
        write = running.device.write

        def slow(*arguments: object, **options: object) -> None:
            time.sleep(0.5)
            write(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(running.device, "write", slow)
        assert client.ask(WRITE, 0, data=b"data").error == 0
        time.sleep(0.3)  # between requests
        assert client.ask(READ, 0, 4).data == b"data"


# --- where it listens ----------------------------------------------------------------------------


def test_a_socket_is_for_its_owner_alone_and_nothing_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening.listen_unix(path) as listener:
        assert path.stat().st_mode & 0o777 == 0o600
        assert listening.uri(listener, "a b/ü") == f"nbd+unix:///a%20b%2F%C3%BC?socket={path}"
        with pytest.raises(StorageBusyError, match=str(path)):
            listening.listen_unix(path)
    with listening.listen_unix(path):  # nobody listens there any more
        pass
    path.unlink()
    path.write_bytes(b"a file")
    with pytest.raises(StorageBusyError):
        listening.listen_unix(path)
    assert path.read_bytes() == b"a file"


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=str(tmp_path)):
        listening.listen_unix(tmp_path / "none" / "s")
    with pytest.raises(ValueError, match="at most"):
        listening.listen_unix(tmp_path / ("s" * 200))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10809", ("127.0.0.1", 10809)),
        (":0", ("127.0.0.1", 0)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:2", ("::1", 2)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert listening.parse_address(text) == address


@pytest.mark.parametrize("text", ["", "here", "here:", "::1:80", "x:65536", "x:-1", "x:+1", "x:٣"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"ADDRESS:PORT|brackets"):
        listening.parse_address(text)


def test_a_port_that_is_taken_or_not_ours() -> None:
    with listening.listen_tcp("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert listening.uri(listener, tls=True) == f"nbds://127.0.0.1:{port}/"
        assert listening.is_loopback(listener)
        with pytest.raises(StorageBusyError, match=f"127.0.0.1:{port}"):
            listening.listen_tcp("127.0.0.1", port)
    with pytest.raises(StorageError, match=r"192\.0\.2\.1:0"):
        listening.listen_tcp("192.0.2.1", 0)


def test_ipv6_stands_in_brackets() -> None:
    try:
        listener = listening.listen_tcp("::1", 0)
    except StorageError as error:
        missing(f"no IPv6: {error}")
    with listener:
        assert listening.uri(listener) == f"nbd://[::1]:{listener.getsockname()[1]}/"
        assert listening.is_loopback(listener)
