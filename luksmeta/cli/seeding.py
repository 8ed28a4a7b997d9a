"""``--seed``: the same command twice makes the same bytes, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from luksmeta.cli import output
from luksmeta.cli.keyslot_options import KeyslotOptions
from luksmeta.cli.options import BytesType, Command
from luksmeta.random_bytes import SEED_MAX, seeded


class Seed(BytesType):
    """Bytes in hexadecimal."""

    name = "seed"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        """The bytes, at least one."""
        if isinstance(value, bytes):
            return value
        try:
            seed = bytes.fromhex(str(value))
        except ValueError:
            seed = b""
        if not 0 < len(seed) <= SEED_MAX:
            self.fail(f"{value!r}: 1 to {SEED_MAX} bytes in hexadecimal are needed", param, ctx)
        return seed


def seed_option(command: Command) -> Command:
    """``--seed``; the command gets ``seed: bytes | None``."""
    decorated: Command = click.option(
        "--seed",
        type=Seed(),
        metavar="HEX",
        help="For tests only: all that is random follows from this, and nothing is secret.",
    )(command)
    return decorated


@contextmanager
def seeding(seed: bytes | None, made: KeyslotOptions) -> Iterator[None]:
    """Within the block all that is random follows from the seed, with a warning; None: nothing.

    UsageError where the KDF's costs would be measured, and so vary.
    """
    if seed is None:
        yield
        return
    if made.pbkdf_force_iterations is None:
        raise click.UsageError("--seed needs --pbkdf-force-iterations: what is measured varies")
    output.warning("--seed is for tests only: whoever knows the seed has the volume key")
    with seeded(seed):
        yield
