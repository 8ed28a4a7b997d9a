"""Where ``serve`` listens, and for whom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from luksmeta.cli.key_options import Seconds
from luksmeta.cli.options import Command, FileName, TextType, grouped

if TYPE_CHECKING:
    import ssl


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
    request_time: int  # milliseconds
    tls_certificates: Path | None
    tls_verify_peer: bool

    def check(self) -> None:
        """UsageError for options that exclude each other, or need another."""
        if self.socket is not None and self.listen is not None:
            raise click.UsageError("--socket or --listen, not both")
        if self.tls_verify_peer and self.tls_certificates is None:
            raise click.UsageError("--tls-verify-peer needs --tls-certificates")

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
                help="At once; more are turned away. Each may hold 32 MiB of memory.",
            ),
            click.option(
                "--request-time",
                type=Seconds(),
                default="600",
                show_default=True,
                metavar="SECONDS",
                help="Cut off who needs longer to send a write, or to take a reply; one second is "
                "added for each 64 KiB.",
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
