"""Certificates of a toy authority, in a directory as the server and its clients expect it."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_Key = ec.EllipticCurvePrivateKey


def make(folder: Path) -> Path:
    """An authority, a server's certificate for this machine, and a client's; the same folder."""
    folder.mkdir()
    authority = ec.generate_private_key(ec.SECP256R1())
    _write(folder, "ca", _certificate("authority", authority, authority), authority)
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        _write(folder, name, _certificate(name, key, authority), key)
    return folder


def _certificate(name: str, key: _Key, issuer: _Key) -> x509.Certificate:
    is_authority = key is issuer
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer, hashes.SHA256())
    )


def _write(folder: Path, name: str, certificate: x509.Certificate, key: _Key) -> None:
    pem = serialization.Encoding.PEM
    (folder / f"{name}-cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / f"{name}-key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
