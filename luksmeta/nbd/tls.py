"""Certificates for the server, in a directory as nbdkit, qemu and libnbd have it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from luksmeta.errors import StorageError
from luksmeta.system_errors import storage_error

AUTHORITY: Final = "ca-cert.pem"
CERTIFICATE: Final = "server-cert.pem"
KEY: Final = "server-key.pem"


def server_context(directory: Path, *, verify_peer: bool = False) -> ssl.SSLContext:
    """TLS 1.2 and later with the certificate and key in ``directory``.

    ``verify_peer`` takes only clients with a certificate of the authority there. Raises
    StorageError for a file that is missing or holds nothing of the kind.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    names = [CERTIFICATE, KEY, *([AUTHORITY] if verify_peer else [])]
    for name in names:
        try:
            (directory / name).open("rb").close()
        except OSError as error:
            raise storage_error(error).about(str(directory / name)) from error
    try:
        context.load_cert_chain(directory / CERTIFICATE, directory / KEY, password=_no_password)
        if verify_peer:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(directory / AUTHORITY)
    except (ssl.SSLError, ValueError) as error:
        raise StorageError(f"no certificate and key for a server: {error}").about(
            str(directory)
        ) from error
    return context


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise ValueError("the key is under a passphrase")
