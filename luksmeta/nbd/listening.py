"""Where a server listens: a socket in the file system or of TCP, and the URI that clients use.

Source: doc/uri.md of the NetworkBlockDevice project.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from pathlib import Path
from urllib.parse import quote

from luksmeta.errors import LuksError, StorageBusyError, StorageExistsError, UnsupportedError
from luksmeta.system_errors import storage_error

_BACKLOG = 64
_LOOPBACK = "127.0.0.1"
_PATH_MAX = 107 if sys.platform == "linux" else 103  # bytes: sun_path of unix(7), but for its end


def listen_unix(path: Path) -> socket.socket:
    """A listening socket in the file system, for its owner alone.

    Takes the place of one that nobody listens at any more. Raises StorageExistsError for anything
    else of that name, StorageBusyError, StorageError, UnsupportedError; ValueError for a path that
    is too long for a socket's name.
    """
    if sys.platform == "win32":
        raise UnsupportedError("there are no sockets in the file system here, use TCP")
    size = len(os.fsencode(path))
    if size > _PATH_MAX:
        raise ValueError(f"{path}: {size} bytes, a socket's name has {_PATH_MAX} at most")
    _remove_dead(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o600)  # nobody can connect before it listens
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _error(error, str(path)) from error
    return listener


def _remove_dead(path: Path) -> None:
    """Remove a socket that is left of a server that was killed."""
    with contextlib.suppress(OSError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listening socket of TCP; port 0 is a free one. Raises StorageError, StorageBusyError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise _error(error, f"{host}:{port}") from error


def _error(error: OSError, name: str) -> LuksError:
    if error.errno == errno.EADDRINUSE:
        if Path(name).exists() and not Path(name).is_socket():
            return StorageExistsError("file exists").about(name)
        return StorageBusyError("something listens there").about(name)
    return storage_error(error).about(name)


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, ``[IPv6]:PORT``, ``:PORT`` or ``PORT``; ValueError."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdecimal() or int(port) > 0xFFFF:
        raise ValueError(f"{text!r} is not ADDRESS:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets")
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise ValueError(f"{text!r}: the name of a host cannot be this") from error
    return host or _LOOPBACK, int(port)


def uri(listener: socket.socket, name: str = "", *, tls: bool = False) -> str:
    """How clients reach the export ``name`` at this socket."""
    scheme, path = "nbds" if tls else "nbd", quote(name, safe="")
    if listener.family == getattr(socket, "AF_UNIX", None):
        place = quote(os.fsencode(os.path.abspath(listener.getsockname())))  # noqa: PTH100  # links stay
        return f"{scheme}+unix:///{path}?socket={place}"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/{path}"


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    if listener.family == getattr(socket, "AF_UNIX", None):
        return True
    host = str(listener.getsockname()[0])
    return host.startswith("127.") or host == "::1"
