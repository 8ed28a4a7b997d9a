"""TLS: nothing is said without it where there are certificates."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from luksmeta import StorageError
from luksmeta.nbd.tls import server_context
from tests.corpus import stream
from tests.nbd import certificates
from tests.nbd.client import ACK, INVALID, READ, TLS_REQD, WRITE, Client, Served, served


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.make(tmp_path_factory.mktemp("tls") / "certificates")


def _over_tls(client: Client, folder: Path, *, certificate: bool = False) -> Client:
    context = ssl.create_default_context(cafile=folder / "ca-cert.pem")
    if certificate:
        context.load_cert_chain(folder / "client-cert.pem", folder / "client-key.pem")
    assert client.option(5) == [(ACK, b"")]
    client.socket = context.wrap_socket(client.socket, server_hostname="127.0.0.1")
    return client


def _use(running: Served, folder: Path, *, certificate: bool = False) -> None:
    with running.client() as client:
        client.greet()
        _over_tls(client, folder, certificate=certificate)
        assert client.option(8) == [(ACK, b"")]
        assert client.go()[-1] == (ACK, b"")
        data = stream("nbd/tls", 40000)
        assert client.ask(WRITE, 77, data=data).error == 0
        assert client.ask(READ, 77, len(data)).data == data
        client.socket.close()


def test_everything_goes_through_tls(folder: Path) -> None:
    with served(tls=server_context(folder)) as running:
        with running.client() as client:
            client.greet()
            for number in (3, 6, 7, 8, 9, 10):
                assert client.option(number)[0][0] == TLS_REQD
            assert client.option(2) == [(ACK, b"")]
        with running.client() as client:
            client.greet()
            client.socket.sendall(b"IHAVEOPT\0\0\0\1\0\0\0\0")
            assert client.is_closed()
        _use(running, folder)


def test_tls_starts_once(folder: Path) -> None:
    with served(tls=server_context(folder)) as running, running.client() as client:
        client.greet()
        _over_tls(client, folder)
        assert client.option(5)[0][0] == INVALID
        client.socket.close()


def test_only_clients_of_the_authority_are_taken(folder: Path) -> None:
    with served(tls=server_context(folder, verify_peer=True)) as running:
        with running.client() as client:
            client.greet()
            _over_tls(client, folder)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                client.option(8)
            client.socket.close()
        _use(running, folder, certificate=True)


def test_who_speaks_no_tls_is_cut_off(folder: Path) -> None:
    with served(tls=server_context(folder)) as running:
        with running.client() as client:
            client.greet()
            assert client.option(5) == [(ACK, b"")]
            client.socket.sendall(b"IHAVEOPT" * 40)
            client.receive(100)  # an alert
            assert client.is_closed()
        _use(running, folder)


def test_who_begins_no_tls_after_asking_for_it_is_cut_off(folder: Path) -> None:
    with served(tls=server_context(folder), handshake_seconds=0.3) as running:
        with running.client() as client:
            client.greet()
            assert client.option(5) == [(ACK, b"")]
            assert client.is_closed()
        assert running.logged() == ["a connection ended: the handshake took too long"]


@pytest.mark.parametrize("name", ["server-cert.pem", "server-key.pem", "ca-cert.pem"])
def test_a_certificate_that_is_missing_or_none_is_named(tmp_path: Path, name: str) -> None:
    folder = certificates.make(tmp_path / "certificates")
    (folder / name).write_bytes(b"nothing of the kind")
    with pytest.raises(StorageError, match="no certificate and key"):
        server_context(folder, verify_peer=True)
    (folder / name).unlink()
    with pytest.raises(StorageError, match=rf"{name}: no such file"):
        server_context(folder, verify_peer=True)


def test_a_key_under_a_passphrase_is_refused_without_a_question(tmp_path: Path) -> None:
    folder = certificates.make(tmp_path / "certificates")
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((folder / "server-key.pem").read_bytes(), None)
    (folder / "server-key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(StorageError, match="under a passphrase"):
        server_context(folder)
