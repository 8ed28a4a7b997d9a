"""``benchmark``: what this machine can, and which engine does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import click

from luksmeta import benchmark, openssl_speed
from luksmeta.benchmark import Argon2Speed, CipherSpeed, Pbkdf2Speed
from luksmeta.cli import output, progress
from luksmeta.cli.keyslot_options import (
    DEFAULT_CPUS,
    DEFAULT_MEMORY,
    DEFAULT_MILLISECONDS,
    KeyBits,
)
from luksmeta.cli.options import json_option
from luksmeta.errors import AlgorithmError
from luksmeta.kdf.pbkdf import Argon2i, Argon2id
from luksmeta.openssl_speed import Limit
from luksmeta.sector import engine
from luksmeta.sizes import counted

if TYPE_CHECKING:
    from rich.table import Table

_CIPHERS: Final = (  # and key sizes in bytes; OpenSSL is measured for the first
    ("aes-xts-plain64", 64),
    ("aes-xts-plain64", 32),
    ("aes-cbc-essiv:sha256", 32),
    ("serpent-xts-plain64", 64),
    ("twofish-xts-plain64", 64),
    ("xchacha12,aes-adiantum-plain64", 32),
)
_SECTOR_SIZES: Final = (512, 4096)
_ARGON2: Final[dict[str, type[Argon2i] | type[Argon2id]]] = {
    "argon2i": Argon2i,
    "argon2id": Argon2id,
}


@dataclass(frozen=True, slots=True)
class _Row:
    """One cipher at one sector size, on one processor and on all."""

    speeds: tuple[CipherSpeed, ...]
    limit: Limit | None

    def as_json(self) -> dict[str, object]:
        first = self.speeds[0]
        limit = self.limit
        return {
            "cipher": first.cipher,
            "key_size": first.key_size,
            "sector_size": first.sector_size,
            "speeds": [
                {"threads": each.thread_count, "encrypt": each.encrypt, "decrypt": each.decrypt}
                for each in self.speeds
            ],
            "openssl": None
            if limit is None
            else {
                "algorithm": limit.algorithm,
                "encrypt": limit.encrypt,
                "decrypt": limit.decrypt,
                "source": limit.source,
            },
        }


@dataclass(slots=True)
class _Results:
    pbkdf2: list[Pbkdf2Speed] = field(default_factory=list)
    argon2: list[Argon2Speed] = field(default_factory=list)
    rows: list[_Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # why a cipher was not measured


@click.command("benchmark", short_help="Measure key derivation and encryption here.")
@click.option("-c", "--cipher", metavar="SPEC", help="Measure this cipher only.")
@click.option("-s", "--key-size", type=KeyBits(), metavar="BITS", help="Of that cipher's key.")
@click.option(
    "--sector-size",
    type=int,
    metavar="BYTES",
    help="512 to 4096; default: the smallest, the largest.",
)
@click.option("--pbkdf", type=click.Choice(["pbkdf2", *_ARGON2]), help="Measure this KDF only.")
@click.option("-h", "--hash", metavar="NAME", help="Measure pbkdf2 with this hash only.")
@click.option(
    "-i",
    "--iter-time",
    type=click.IntRange(min=1),
    default=DEFAULT_MILLISECONDS,
    show_default=True,
    metavar="MS",
    help="Find the costs of argon2 that take so long.",
)
@click.option(
    "--pbkdf-memory",
    type=click.IntRange(min=1),
    default=DEFAULT_MEMORY,
    show_default=True,
    metavar="KiB",
    help="Memory of argon2, at most.",
)
@click.option(
    "--pbkdf-parallel",
    type=click.IntRange(min=1),
    default=DEFAULT_CPUS,
    show_default=True,
    metavar="N",
    help="Threads of argon2, at most.",
)
@click.option("--debug", is_flag=True, help="Show a log, and tracebacks of errors.")
@json_option
def benchmark_command(
    *,
    cipher: str | None,
    key_size: int | None,
    sector_size: int | None,
    pbkdf: str | None,
    hash: str | None,
    iter_time: int,
    pbkdf_memory: int,
    pbkdf_parallel: int,
    debug: bool,
    as_json: bool,
) -> None:
    """Measure key derivation and encryption on this machine, in memory; about 15 seconds.

    Beside it stands what OpenSSL does alone, as "openssl speed" says: the most that an engine
    could. With LUKSMETA_ENGINE=portable or native that engine is measured.
    """
    if pbkdf not in (None, "pbkdf2") and hash is not None:
        raise click.UsageError(f"--hash has no meaning for {pbkdf}")
    if cipher is None and (key_size is not None or sector_size is not None):
        raise click.UsageError("--key-size and --sector-size belong to a --cipher")
    results = _Results()
    asked_for_kdf = pbkdf is not None or hash is not None
    if cipher is None or asked_for_kdf:
        names = (pbkdf,) if pbkdf else ("pbkdf2",) if hash else ("pbkdf2", *_ARGON2)
        if "pbkdf2" in names:
            results.pbkdf2 += _measure_pbkdf2((hash,) if hash else benchmark.HASHES)
        kinds = [kind for name, kind in _ARGON2.items() if name in names]
        results.argon2 += _measure_argon2(kinds, iter_time, pbkdf_memory, pbkdf_parallel)
    if cipher is not None:
        key_size = key_size or benchmark.largest_key_size(cipher)
        sizes = _SECTOR_SIZES if sector_size is None else (sector_size,)
        results.rows += [_measure(cipher, key_size, size, with_limit=True) for size in sizes]
    elif not asked_for_kdf:
        _measure_all(results)
    if as_json:
        output.say_json(_document(results))
    else:
        _say(results)


# --- measuring -----------------------------------------------------------------------------------


def _measure_pbkdf2(names: Sequence[str]) -> Iterator[Pbkdf2Speed]:
    for name in names:
        with progress.waiting(f"pbkdf2 with {name}"):
            yield benchmark.pbkdf2(name)


def _measure_argon2(
    kinds: Sequence[type[Argon2i] | type[Argon2id]], milliseconds: int, memory: int, cpus: int
) -> Iterator[Argon2Speed]:
    for kind in kinds:
        with progress.waiting(kind.name):
            yield benchmark.argon2(kind, milliseconds, max_memory=memory, max_cpus=cpus)


def _measure_all(results: _Results) -> None:
    """The usual ciphers; one that is not available here is told of, not an error."""
    for number, (cipher, key_size) in enumerate(_CIPHERS):
        try:
            for size in _SECTOR_SIZES:
                results.rows.append(_measure(cipher, key_size, size, with_limit=number == 0))
        except AlgorithmError as error:
            results.missing.append(str(error))


def _measure(cipher: str, key_size: int, sector_size: int, *, with_limit: bool) -> _Row:
    with progress.waiting(f"{cipher}, {key_size * 8} bits, sectors of {sector_size} bytes"):
        counts = sorted({1, benchmark.processors()})
        speeds = tuple(
            benchmark.cipher(cipher, key_size, sector_size, thread_count=count) for count in counts
        )
        limit = openssl_speed.limit(cipher, key_size, sector_size) if with_limit else None
    return _Row(speeds, limit)


# --- telling -------------------------------------------------------------------------------------


def _document(results: _Results) -> dict[str, object]:
    return {
        "engine": engine.name(),
        "openssl": openssl_speed.version(),
        "processors": benchmark.processors(),
        "pbkdf2": [
            {"hash": each.hash, "iterations_per_second": each.iterations_per_second}
            for each in results.pbkdf2
        ],
        "argon2": [
            {
                "name": each.kdf.name,
                "time": each.kdf.time,
                "memory": each.kdf.memory << 10,
                "cpus": each.kdf.cpus,
                "milliseconds": each.milliseconds,
            }
            for each in results.argon2
        ],
        "ciphers": [row.as_json() for row in results.rows],
        "unavailable": results.missing,
    }


def _say(results: _Results) -> None:
    from rich.console import Console

    with output.to_standard_output():
        console = Console(highlight=False)
        if results.pbkdf2 or results.argon2:
            console.print(_kdf_table(results), "")
        if results.rows or results.missing:
            console.print(f"Engine: {engine.name()}, {openssl_speed.version()}", "", sep="\n")
            console.print(_cipher_table(results.rows))
            for source in sorted({row.limit.source for row in results.rows if row.limit}):
                console.print(f"\nOpenSSL alone: {source}; no loop over sectors.")
    for text in results.missing:
        output.warning(text)


def _kdf_table(results: _Results) -> Table:
    table = _table("KDF", f"for a key of {benchmark.KDF_KEY_SIZE * 8} bits")
    for speed in results.pbkdf2:
        table.add_row(
            f"pbkdf2 {speed.hash}", f"{speed.iterations_per_second:,} iterations a second"
        )
    for each in results.argon2:
        kdf = each.kdf
        costs = (
            f"{counted(kdf.time, 'pass', 'passes')}, {kdf.memory >> 10} MiB, "
            f"{counted(kdf.cpus, 'thread')}"
        )
        table.add_row(kdf.name, f"{costs}: {each.milliseconds} ms")
    return table


def _cipher_table(rows: Sequence[_Row]) -> Table:
    counts = sorted({1, benchmark.processors()})
    ways = [f"{way}\non {count}" for count in counts for way in ("encrypt", "decrypt")]
    table = _table("MiB a second,\non so many processors", "key\nbits", "sector\nbytes", *ways)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        first, limit = row.speeds[0], row.limit
        sizes = str(first.key_size * 8), str(first.sector_size)
        figures = [figure for each in row.speeds for figure in (each.encrypt, each.decrypt)]
        table.add_row(first.cipher, *sizes, *map(_mebibytes, figures))
        if limit is not None:
            alone = f"  OpenSSL alone: {limit.algorithm}"
            table.add_row(alone, *sizes, _mebibytes(limit.encrypt), _mebibytes(limit.decrypt))
    return table


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _mebibytes(figure: int) -> str:
    return f"{figure / (1 << 20):,.0f}" if figure >= 10 << 20 else f"{figure / (1 << 20):.1f}"
