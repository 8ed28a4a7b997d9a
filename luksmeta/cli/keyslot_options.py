"""Options about new keyslots: what unlocking them shall cost, and how their area is encrypted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypedDict

import click

from luksmeta.cli.options import Command, NumberType, grouped
from luksmeta.errors import UnsupportedError
from luksmeta.kdf import pbkdf as kdfs
from luksmeta.kdf.pbkdf import Pbkdf, Pbkdf2
from luksmeta.model import PRIORITY_NAMES

DEFAULT_MILLISECONDS: Final = 2000  # configure.ac: both formats
DEFAULT_MEMORY: Final = 1 << 20  # KiB
DEFAULT_CPUS: Final = 4


class KeyBits(NumberType):
    """A key size in bits, as people write it; the value is in bytes."""

    name = "bits"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """The size in bytes."""
        try:
            bits = int(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a number of bits", param, ctx)
        if bits <= 0 or bits % 8 or bits > 8 * 512:
            self.fail(f"{bits} bits: a multiple of 8 up to 4096 is needed", param, ctx)
        return bits // 8


class KeyslotKeywords(TypedDict):
    """What ``add_keyslot`` and ``change_keyslot`` want to know of a new keyslot."""

    pbkdf: Pbkdf
    hash: str | None
    encryption: str | None
    area_key_size: int | None


@dataclass(frozen=True, slots=True)
class KeyslotOptions:
    """A new keyslot: its KDF, with forced costs or a time to calibrate to, and its area."""

    pbkdf: str | None
    iter_time: int | None
    pbkdf_force_iterations: int | None
    pbkdf_memory: int | None
    pbkdf_parallel: int | None
    hash: str | None
    keyslot_cipher: str | None
    keyslot_key_size: int | None

    @property
    def milliseconds(self) -> int:
        """The time that unlocking shall take."""
        return self.iter_time or DEFAULT_MILLISECONDS

    @property
    def digest_iterations(self) -> int | None:
        """Those of a new key's digest: the least where nothing shall be measured."""
        return None if self.pbkdf_force_iterations is None else kdfs.MIN_ITERATIONS

    @property
    def names_costs(self) -> bool:
        """Whether any option is about the KDF."""
        given = (self.pbkdf, self.iter_time, self.pbkdf_force_iterations)
        return any(each is not None for each in (*given, self.pbkdf_memory, self.pbkdf_parallel))

    def keywords(
        self, version: int, default_hash: str, default: Pbkdf | None = None
    ) -> KeyslotKeywords:
        """The keywords of a new keyslot. Measures this machine where no costs are forced.

        With a ``default`` KDF only where an option is about costs.
        """
        if default is None or self.names_costs:
            default = self.costs(version, self.hash or default_hash)
        return {
            "pbkdf": default,
            "hash": self.hash,
            "encryption": self.keyslot_cipher,
            "area_key_size": self.keyslot_key_size,
        }

    def costs(self, version: int, hash_name: str) -> Pbkdf:
        """The KDF with its costs; raises what :meth:`check` does."""
        forced = self._forced(version, hash_name)
        if forced is not None:
            return forced
        kind = self._kind(version)
        if issubclass(kind, Pbkdf2):
            return Pbkdf2.calibrate(self.milliseconds, hash_name)
        return kind.calibrate(self.milliseconds, max_memory=self._memory, max_cpus=self._cpus)

    def check(self, version: int) -> None:
        """Refuse what makes no sense, before anything is asked or measured.

        Raises UsageError for options that exclude each other, ValueError for forced costs that no
        keyslot should have, UnsupportedError for what LUKS1 has no place for.
        """
        self._forced(version, "sha256")
        if version == 1 and (self.keyslot_cipher is not None or self.keyslot_key_size is not None):
            raise UnsupportedError("keyslot: LUKS1 has no cipher of its own for it")

    def _forced(self, version: int, hash_name: str) -> Pbkdf | None:
        kind = self._kind(version)
        if self.pbkdf_force_iterations is None:
            return None
        require_one_cost(self.iter_time, self.pbkdf_force_iterations)
        forced: Pbkdf
        if issubclass(kind, Pbkdf2):
            forced = Pbkdf2(hash=hash_name, iterations=self.pbkdf_force_iterations)
        else:
            forced = kind(time=self.pbkdf_force_iterations, memory=self._memory, cpus=self._cpus)
        kdfs.check_new(forced)
        return forced

    def _kind(self, version: int) -> type[Pbkdf]:
        if version == 1 and self.pbkdf not in (None, "pbkdf2"):
            raise UnsupportedError(f"keyslot: --pbkdf {self.pbkdf}, LUKS1 knows pbkdf2 only")
        kind = kdfs.NAMES[self.pbkdf or ("pbkdf2" if version == 1 else "argon2id")]
        for option in ("pbkdf_memory", "pbkdf_parallel"):
            if issubclass(kind, Pbkdf2) and getattr(self, option) is not None:
                raise click.UsageError(f"--{option.replace('_', '-')} has no meaning for pbkdf2")
        return kind

    @property
    def _memory(self) -> int:
        return self.pbkdf_memory or DEFAULT_MEMORY

    @property
    def _cpus(self) -> int:
        return self.pbkdf_parallel or DEFAULT_CPUS


def priority_option(of: str) -> Callable[[Any], Any]:
    """``--priority`` ``of`` a keyslot."""
    return click.option(
        "--priority",
        type=click.Choice(list(PRIORITY_NAMES)),
        help=f"LUKS2: when {of} is tried; prefer is high.",
    )


def iter_time_option(what: str, default: int) -> Callable[[Any], Any]:
    """``--iter-time``: how long ``what`` shall take, in milliseconds."""
    return click.option(
        "-i",
        "--iter-time",
        type=click.IntRange(min=1),
        metavar="MS",
        help=f"{what} shall take so many milliseconds here; {default}.",
    )


def force_iterations_option(what: str, least: int = 1) -> Callable[[Any], Any]:
    """``--pbkdf-force-iterations``, which are ``what``, ``least`` or more."""
    return click.option(
        "--pbkdf-force-iterations",
        type=click.IntRange(min=least),
        metavar="N",
        help=f"{what}, without measuring.",
    )


def require_one_cost(iter_time: int | None, forced: int | None) -> None:
    """UsageError where both a time and a number of iterations are asked for."""
    if iter_time is not None and forced is not None:
        raise click.UsageError("--iter-time and --pbkdf-force-iterations exclude each other")


_OPTIONS: Final[tuple[Callable[[Any], Any], ...]] = (
    click.option(
        "--pbkdf",
        type=click.Choice(list(kdfs.NAMES)),
        help="Default: argon2id, in LUKS1 pbkdf2.",
    ),
    iter_time_option("Unlocking", DEFAULT_MILLISECONDS),
    force_iterations_option("Iterations (argon2: passes)"),
    click.option(
        "--pbkdf-memory",
        type=click.IntRange(min=1),
        metavar="KiB",
        help=f"Memory of argon2, at most; {DEFAULT_MEMORY}.",
    ),
    click.option(
        "--pbkdf-parallel",
        type=click.IntRange(min=1),
        metavar="N",
        help=f"Threads of argon2, at most; {DEFAULT_CPUS}.",
    ),
    click.option("-h", "--hash", metavar="NAME", help="Hash of PBKDF2 and of the key's splitting."),
    click.option("--keyslot-cipher", help="LUKS2: encrypts the keyslot; default: the data's."),
    click.option("--keyslot-key-size", type=KeyBits(), help="LUKS2: the key of that cipher."),
)


def keyslot_options(command: Command) -> Command:
    """What a new keyslot is; the command gets ``made: KeyslotOptions``."""
    return grouped(command, "made", KeyslotOptions, _OPTIONS)
