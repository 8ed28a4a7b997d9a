"""The handshake, option by option, against a client that says what it likes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from luksmeta.nbd.protocol import TransmissionFlag
from tests import builders
from tests.nbd.client import (
    ACK,
    INFO,
    INVALID,
    META_CONTEXT,
    POLICY,
    SERVER,
    TOO_BIG,
    UNKNOWN,
    UNSUP,
    Client,
    Served,
    served,
)

ALLOCATION = (META_CONTEXT, b"\0\0\0\1base:allocation")
HAS, READ_ONLY, FLUSH, FUA, TRIM, ZEROES, DF, MULTI = 1, 2, 4, 8, 32, 64, 128, 256


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Served]:
    with served(name="né", description="a volume") as running:
        yield running


@pytest.fixture(name="client")
def _client(server: Served) -> Iterator[Client]:
    with server.client() as client:
        client.greet()
        yield client


@pytest.mark.parametrize(
    ("writable", "allow_discards", "flags"),
    [
        (False, False, HAS | READ_ONLY | FLUSH | DF | MULTI),
        (True, False, HAS | FLUSH | FUA | ZEROES | DF | MULTI),
        (True, True, HAS | FLUSH | FUA | TRIM | ZEROES | DF | MULTI),
        (False, True, HAS | READ_ONLY | FLUSH | DF | MULTI),
    ],
)
def test_an_export_says_what_it_can_do(writable: bool, allow_discards: bool, flags: int) -> None:
    with (
        served(writable=writable, allow_discards=allow_discards) as running,
        running.client() as client,
    ):
        client.start()
        assert (client.size, TransmissionFlag(client.flags)) == (builders.DATA_SIZE, flags)


@pytest.mark.parametrize("name", [b"", "né".encode()])
def test_the_export_has_its_name_and_the_empty_one(client: Client, name: bytes) -> None:
    assert client.go(name, option=6)[-1] == (ACK, b"")
    assert client.go(name)[-1] == (ACK, b"")
    assert client.ask(0, 0, 512).error == 0


def test_what_is_asked_of_an_export_is_told(client: Client) -> None:
    *told, end = client.go(b"", 1, 2, 3, 77, option=6)
    assert end == (ACK, b"")
    assert [data for kind, data in told if kind == INFO][1:] == [
        b"\0\1" + "né".encode(),
        b"\0\2a volume",
        struct.pack(">HIII", 3, 1, 4096, 32 << 20),
    ]


def test_the_list_has_the_one_export(client: Client) -> None:
    assert client.option(3) == [(SERVER, b"\0\0\0\3n\xc3\xa9"), (ACK, b"")]


def test_another_export_is_not_there(client: Client) -> None:
    for name in (b"other", b"\xff\xfe"):
        assert client.go(name)[0][0] == UNKNOWN
    assert client.go()[-1] == (ACK, b"")


def test_the_option_that_cannot_be_refused(server: Served) -> None:
    for flags, padding in ((1, 124), (3, 0)):
        with server.client() as client:
            client.greet(flags)
            client.socket.sendall(b"IHAVEOPT\0\0\0\1\0\0\0\0")
            answer = client.receive(10 + padding)
            assert struct.unpack_from(">Q", answer)[0] == builders.DATA_SIZE
            assert answer[10:] == bytes(padding)
            assert client.ask(0, 0, 512).error == 0
    with server.client() as client:
        client.greet()
        client.socket.sendall(b"IHAVEOPT\0\0\0\1\0\0\0\5other")
        assert client.is_closed()


def test_unknown_options_are_refused_and_the_handshake_goes_on(client: Client) -> None:
    for number in (4, 11, 12, 0, 2**32 - 1):
        assert client.option(number, b"whatever")[0][0] == UNSUP
    assert client.go()[-1] == (ACK, b"")


def test_a_client_that_leaves_is_let_go(client: Client) -> None:
    assert client.option(2) == [(ACK, b"")]
    assert client.is_closed()


def test_contexts_are_listed_and_chosen(client: Client) -> None:
    assert client.contexts(b"base:allocation")[0][0] == INVALID  # no structured replies yet
    assert client.option(8) == [(ACK, b"")]
    listed = (META_CONTEXT, b"\0\0\0\0base:allocation")
    assert client.contexts(option=9) == [listed, (ACK, b"")]
    assert client.contexts(b"base:", option=9) == [listed, (ACK, b"")]
    assert client.contexts(b"qemu:", option=9) == [(ACK, b"")]
    assert client.contexts(b"base:", b"qemu:dirty-bitmap:x") == [(ACK, b"")]
    assert client.contexts(b"x:y", b"base:allocation") == [ALLOCATION, (ACK, b"")]
    assert client.contexts(b"base:allocation", name=b"other")[0][0] == UNKNOWN


@pytest.mark.parametrize("again", [b"nothing:here", None])
def test_a_context_is_that_of_the_last_choice_for_this_export(
    client: Client, again: bytes | None
) -> None:
    client.option(8)
    assert client.contexts(b"base:allocation")[0] == ALLOCATION
    if again is not None:
        assert client.contexts(again) == [(ACK, b"")]
    client.go(b"" if again else "né".encode())
    assert client.ask(7, 0, 512).error == 22


@pytest.mark.parametrize(
    ("option", "data", "reply"),
    [
        (3, b"x", INVALID),
        (5, b"", POLICY),
        (8, b"x", INVALID),
        (7, b"", INVALID),
        (7, b"\0\0\0\5abc", INVALID),
        (7, b"\0\0\0\0\0\2\0\1", INVALID),
        (7, b"\0\0\0\0\0\0extra", INVALID),
        (7, b"\0\0\x10\1" + bytes(4097), TOO_BIG),
        (10, b"\0\0\0\0\0\0\0\1", INVALID),
        (10, b"\0\0\0\0\xff\xff\xff\xff", TOO_BIG),
        (9, b"\0\0\0\0\0\0\0\1\xff\xff\xff\xff", TOO_BIG),
    ],
)
def test_odd_data_is_refused_and_the_handshake_goes_on(
    client: Client, option: int, data: bytes, reply: int
) -> None:
    assert client.option(option, data)[0][0] == reply
    assert client.go()[-1] == (ACK, b"")


@pytest.mark.parametrize(
    "sent",
    [
        b"\0\0\0\0",
        b"\0\0\0\7",
        b"\0\0\0\3GARBAGE!\0\0\0\3\0\0\0\0",
        b"\0\0\0\3IHAVEOPT\0\0\0\3\0\1\0\1",
        b"\0\0\0\3IHAVEOPT\0\0\0\3\xff\xff\xff\xff",
    ],
)
def test_who_breaks_the_protocol_is_cut_off(server: Served, sent: bytes) -> None:
    with server.client() as client:
        client.receive(18)
        client.socket.sendall(sent)
        assert client.is_closed()


def test_nobody_asks_for_ever(client: Client) -> None:
    for _ in range(63):
        assert client.option(3)[-1] == (ACK, b"")
    assert client.option(3)[-1] == (ACK, b"")
    assert client.is_closed()


def test_who_takes_too_long_is_cut_off_also_when_he_drips() -> None:
    with served(handshake_seconds=0.3) as running, running.client() as client:
        client.greet()
        client.socket.sendall(b"IHAVEOPT\0\0\0\3\0\0\x10\0")
        client.socket.settimeout(0.1)
        assert 1 <= _drops_until_closed(client) < 50


def test_the_time_for_the_handshake_is_none_for_what_follows() -> None:
    with served(handshake_seconds=0.3) as running, running.client() as client:
        client.start()
        client.socket.settimeout(0.6)
        with pytest.raises(TimeoutError):
            client.is_closed()
        client.socket.settimeout(10)
        assert client.ask(0, 0, 512).error == 0


def _drops_until_closed(client: Client) -> int:
    for number in range(100):
        try:
            client.socket.sendall(b"x")
            if client.is_closed():
                return number
        except TimeoutError:  # nothing said, and not closed
            continue
        except ConnectionError:
            return number
    return 100
