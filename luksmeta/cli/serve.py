"""``serve``: the plaintext of a volume to NBD clients."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from luksmeta.cli import interrupts, output
from luksmeta.cli.listen_options import ListenOptions, listen_options
from luksmeta.cli.options import json_option
from luksmeta.cli.source import Source
from luksmeta.cli.table_options import TableOptions, open_any, source_or_table_options
from luksmeta.cli.type_options import data_offset_option, refuse_data_offset

if TYPE_CHECKING:
    from luksmeta.nbd.export import Export
    from luksmeta.nbd.handshake import Offer


@click.command("serve", short_help="Serve the plaintext to NBD clients.")
@source_or_table_options
@listen_options
@click.option("--writable", is_flag=True, help="Let the volume be written; default: read only.")
@click.option(
    "--allow-discards",
    is_flag=True,
    help="Give room back that clients trim: it shows where there is no data.",
)
@data_offset_option
@json_option
def serve_command(
    *,
    source: Source,
    table: TableOptions,
    listen: ListenOptions,
    writable: bool,
    allow_discards: bool,
    offset: int,
    as_json: bool,
) -> int:
    """Serve the plaintext to NBD clients until SIGINT or SIGTERM: qemu, nbdcopy, nbd-client, fio.

    The first line that is printed is the URI for them. At the end requests under way are
    answered, everything is flushed, and the key is wiped from memory.
    """
    from luksmeta.nbd.export import Export
    from luksmeta.nbd.handshake import Offer
    from luksmeta.plaintext_device import PlaintextDevice

    refuse_data_offset(source.layout, offset)
    listen.check()
    if allow_discards and not writable:
        raise click.UsageError("--allow-discards needs --writable")
    tls = listen.tls_context
    with (
        _listening(listen) as listener,
        open_any(source, table, offset, writable=writable) as data,
        data.open(writable=writable) as stream,
    ):
        device = PlaintextDevice(stream, warn=output.warning)
        export = Export(device, writable=writable, allow_discards=allow_discards)
        offer = Offer(export, listen.export_name, source.image, tls)
        _serve(listener, offer, listen, as_json=as_json)
        device.finish()
    return 0


@contextmanager
def _listening(options: ListenOptions) -> Iterator[socket.socket]:
    """The listening socket; what it has in the file system is removed at the end."""
    from luksmeta.nbd import listening

    if options.listen is not None:
        try:
            host, port = listening.parse_address(options.listen)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        with listening.listen_tcp(host, port) as listener:
            if options.tls_certificates is None and not listening.is_loopback(listener):
                output.warning(f"{host}: everybody who reaches it gets the plaintext, without TLS")
            yield listener
    elif options.socket is not None:
        with _unix(Path(options.socket)) as listener:
            yield listener
    else:
        with output.errors_of("a directory for the socket"):
            folder = tempfile.mkdtemp(prefix="luksmeta-", dir=os.environ.get("XDG_RUNTIME_DIR"))
        try:
            with _unix(Path(folder, "socket")) as listener:
                yield listener
        finally:
            with suppress(OSError):
                Path(folder).rmdir()


@contextmanager
def _unix(path: Path) -> Iterator[socket.socket]:
    from luksmeta.nbd import listening

    with listening.listen_unix(path) as listener, interrupts.incomplete(str(path)):
        try:
            yield listener
        finally:
            with suppress(OSError):
                path.unlink()


def _serve(listener: socket.socket, offer: Offer, options: ListenOptions, *, as_json: bool) -> None:
    """Serve until a signal comes."""
    from luksmeta.nbd.listening import uri
    from luksmeta.nbd.server import Server

    address = uri(listener, offer.name, tls=offer.tls is not None)
    with (
        _clients_may_vanish(),
        Server(
            listener,
            offer,
            connections=options.connections,
            request_seconds=options.request_time / 1000,
            log=output.log,
        ) as server,
        suppress(KeyboardInterrupt),
        interrupts.never_ignored(signal.SIGINT, signal.SIGTERM),
    ):
        _say(address, offer.export, as_json=as_json)
        server.wait()


def _say(address: str, export: Export, *, as_json: bool) -> None:
    if as_json:
        about = {"size": export.size, "writable": export.writable, "pid": os.getpid()}
        output.say_json({"uri": address, **about})
    else:
        output.say(address)
    sys.stdout.flush()


@contextmanager
def _clients_may_vanish() -> Iterator[None]:
    """SIGPIPE, which ends filters, must not end the server."""
    if not hasattr(signal, "SIGPIPE"):
        yield
        return
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)
