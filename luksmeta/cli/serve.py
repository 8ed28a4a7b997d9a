"""``serve``: the plaintext of a volume to NBD clients."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from luksmeta.cli import interrupts, output
from luksmeta.cli.headerless import (
    TypeOptions,
    data_offset_option,
    refuse_data_offset,
    type_options,
)
from luksmeta.cli.key_options import UnlockOptions, unlock_options
from luksmeta.cli.options import (
    Command,
    FileName,
    TextType,
    VolumeOptions,
    grouped,
    json_option,
    policy_option,
)
from luksmeta.cli.seal_options import SealOptions, seal_options
from luksmeta.cli.table_options import TableOptions, open_any, volume_or_table_options

if TYPE_CHECKING:
    import ssl

    from luksmeta.nbd.export import Export
    from luksmeta.nbd.handshake import Offer


class ExportName(TextType):
    """The name of an export."""

    name = "name"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """The name, if the protocol can carry it."""
        from luksmeta.nbd.protocol import NAME_MAX

        name = str(value)
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            self.fail("is not UTF-8", param, ctx)
        if size > NAME_MAX:
            self.fail(f"has {size} bytes, {NAME_MAX} at most", param, ctx)
        return name


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """Where clients find it, who they may be, and how many."""

    socket: str | None
    listen: str | None
    export_name: str
    connections: int
    tls_certificates: Path | None
    tls_verify_peer: bool

    @property
    def tls_context(self) -> ssl.SSLContext | None:
        """TLS, where it is asked for."""
        from luksmeta.nbd.tls import server_context

        if self.tls_certificates is None:
            return None
        return server_context(self.tls_certificates, verify_peer=self.tls_verify_peer)


def listen_options(command: Command) -> Command:
    """Where to listen; the command gets ``listen: ListenOptions``."""
    return grouped(
        command,
        "listen",
        ListenOptions,
        [
            click.option(
                "--socket",
                type=FileName(),
                metavar="PATH",
                help="For this user alone; default: in a directory of its own.",
            ),
            click.option(
                "--listen",
                metavar="[ADDRESS:]PORT",
                help="TCP instead, on 127.0.0.1 unless told otherwise; port 0: any.",
            ),
            click.option(
                "--export-name",
                type=ExportName(),
                default="",
                metavar="NAME",
                help="Besides the empty one.",
            ),
            click.option(
                "--connections",
                type=click.IntRange(1, 1000),
                default=16,
                show_default=True,
                metavar="N",
                help="At once; more are turned away.",
            ),
            click.option(
                "--tls-certificates",
                type=click.Path(path_type=Path),
                metavar="DIR",
                help="Only with TLS: server-cert.pem, server-key.pem and ca-cert.pem.",
            ),
            click.option(
                "--tls-verify-peer",
                is_flag=True,
                help="Only clients with a certificate of ca-cert.pem's.",
            ),
        ],
    )


@click.command("serve")
@volume_or_table_options
@unlock_options()
@seal_options
@type_options
@policy_option
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
    volume: VolumeOptions,
    table: TableOptions,
    key: UnlockOptions,
    seal: SealOptions,
    layout: TypeOptions,
    policy: str | None,
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

    _refuse_nonsense(listen, layout, offset, writable=writable, allow_discards=allow_discards)
    tls = listen.tls_context
    with (
        _listening(listen) as listener,
        open_any(
            volume, table, key, layout, offset, seal, writable=writable, policy=policy
        ) as data,
        data.open(writable=writable) as stream,
    ):
        export = Export(
            stream, writable=writable, allow_discards=allow_discards, warn=output.warning
        )
        offer = Offer(export, listen.export_name, volume.image, tls)
        _serve(listener, offer, listen.connections, as_json=as_json)
    return 0


def _refuse_nonsense(
    listen: ListenOptions,
    layout: TypeOptions,
    offset: int,
    *,
    writable: bool,
    allow_discards: bool,
) -> None:
    refuse_data_offset(layout, offset)
    if listen.socket is not None and listen.listen is not None:
        raise click.UsageError("--socket or --listen, not both")
    if listen.tls_verify_peer and listen.tls_certificates is None:
        raise click.UsageError("--tls-verify-peer needs --tls-certificates")
    if allow_discards and not writable:
        raise click.UsageError("--allow-discards needs --writable")


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


def _serve(listener: socket.socket, offer: Offer, connections: int, *, as_json: bool) -> None:
    """Serve until a signal comes, then flush. LuksError where that fails."""
    from luksmeta.nbd.listening import uri
    from luksmeta.nbd.server import Server

    address = uri(listener, offer.name, tls=offer.tls is not None)
    with (
        _clients_may_vanish(),
        Server(listener, offer, connections=connections, log=output.log) as server,
        suppress(KeyboardInterrupt),
    ):
        _say(address, offer.export, as_json=as_json)
        server.wait()
    offer.export.finish()


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
