"""``--require-seal`` and what the caller knows of the last state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import click

from luksmeta.cli.options import Command, TextType, grouped
from luksmeta.trust.terms import COUNTER_MAX, SealTerms


class Measurement(TextType):
    """A measurement in hex, by any of the hashes."""

    name = "measurement"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """The hex digits in lower case."""
        text = str(value).lower()
        if not _HEX.fullmatch(text):
            self.fail(f"{text[:140]!r} is not 64, 96 or 128 hex digits", param, ctx)
        return text


_HEX: Final = re.compile(r"[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128}")
COUNTER: Final = click.IntRange(min=1, max=COUNTER_MAX)


@dataclass(frozen=True, slots=True)
class SealOptions:
    """Whether the seal must hold, and on which terms."""

    require_seal: bool
    seal_counter: int | None
    seal_measurement: str | None

    @property
    def demand(self) -> SealTerms | None:
        """What must hold; None where nothing must."""
        if not (self.require_seal or self.seal_counter or self.seal_measurement):
            return None
        return terms(self.seal_counter, self.seal_measurement)


NO_SEAL: Final = SealOptions(require_seal=False, seal_counter=None, seal_measurement=None)


def terms(counter: int | None, measurement: str | None) -> SealTerms:
    """The terms that these options are."""
    return SealTerms(counter, None if measurement is None else bytes.fromhex(measurement))


def seal_options(command: Command) -> Command:
    """``--require-seal`` and its terms; the command gets ``seal: SealOptions``."""
    return grouped(
        command,
        "seal",
        SealOptions,
        [
            click.option(
                "--require-seal",
                is_flag=True,
                help="LUKS2: refuse a header that is not as it was sealed; see seal.",
            ),
            click.option(
                "--seal-counter",
                type=COUNTER,
                metavar="N",
                help="And one whose seal's counter is below N.",
            ),
            click.option(
                "--seal-measurement",
                type=Measurement(),
                metavar="HEX",
                help="And one with another measurement.",
            ),
        ],
    )
