"""Passphrases, keys and confirmations: where they come from, and the rules of each source.

As cryptsetup reads them (src/utils_password.c, lib/utils.c): a key file is the passphrase, newlines
included; standard input that is no terminal gives one line per passphrase.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from luksmeta.cli import output
from luksmeta.errors import LuksError, StoragePermissionError
from luksmeta.secret import SecretBytes

PASSPHRASE_MAX: Final = 512  # bytes typed or piped, configure.ac
KEY_FILE_MAX: Final = 8 << 20  # bytes, configure.ac
STDIN: Final = 0
_CHUNK: Final = 1 << 16


class InputError(LuksError):
    """A passphrase or an answer could not be had."""


def input_error(name: str, error: OSError) -> LuksError:
    """The error for an input file that the system does not open or read."""
    text = f"{name}: {(error.strerror or str(error)).lower()}"
    return StoragePermissionError(text) if isinstance(error, PermissionError) else InputError(text)


class MismatchError(InputError):
    """A new passphrase was not typed the same way twice."""

    exit_status = 2  # as all below: src/utils_tools.c, EPERM


class RefusedError(LuksError):
    """The user did not confirm."""


class RemovalRefusedError(RefusedError):
    """The user did not confirm that keyslots go."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file, or a part of it: ``size`` bytes (None: all) from ``offset`` on."""

    path: str
    offset: int = 0
    size: int | None = None

    def read(self) -> SecretBytes:
        """The passphrase in it; InputError when it is missing, too short or too long."""
        try:
            with _opened(self.path) as descriptor:
                return self._read_from(descriptor)
        except OSError as error:
            raise input_error(f"key file {self.path}", error) from error

    def _read_from(self, descriptor: int) -> SecretBytes:
        self._skip(descriptor)
        limit = KEY_FILE_MAX if self.size is None else self.size
        if limit > KEY_FILE_MAX:
            raise InputError(
                f"key file {self.path}: {limit} bytes asked for, {KEY_FILE_MAX} at most"
            )
        with SecretBytes(limit + 1) as buffer:
            length = _fill(descriptor, buffer.view()[: limit + (self.size is None)])
            if self.size is None and length > limit:
                raise InputError(f"key file {self.path}: more than {limit} bytes")
            if self.size is not None and length < limit:
                raise InputError(f"key file {self.path}: {length} bytes there, {limit} asked for")
            return SecretBytes(buffer.view()[:length])

    def _skip(self, descriptor: int) -> None:
        left = self.offset
        while left:
            skipped = len(os.read(descriptor, min(left, _CHUNK)))
            if not skipped:
                raise InputError(
                    f"key file {self.path}: offset {self.offset} is {left} bytes past its end"
                )
            left -= skipped


def read_passphrase(
    question: str, key_file: KeyFile | None = None, *, verify: bool = False
) -> SecretBytes:
    """A passphrase from its key file, the terminal, or the next line of standard input.

    ``verify`` asks twice, on a terminal only. Raises InputError.
    """
    if key_file is not None:
        output.log(f"{question}: from key file {key_file.path}")
        return key_file.read()
    if not is_interactive():
        output.log(f"{question}: a line of standard input")
        return _read_line(STDIN, "standard input")
    passphrase = _typed(question)
    if verify:
        with _typed(f"{question} again") as again:
            if not passphrase.matches(again):
                passphrase.wipe()
                raise MismatchError("passphrases do not match")
    return passphrase


def try_line() -> SecretBytes | None:
    """The next line of standard input; None when there is none."""
    try:
        return _read_line(STDIN, "standard input")
    except EndOfInputError:
        return None


class EndOfInputError(InputError):
    """There is nothing to read."""


def is_interactive() -> bool:
    """Whether a person can be asked: standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def confirm(warning: str, *, batch_mode: bool, refused: type[RefusedError] = RefusedError) -> None:
    """Ask for ``YES`` on a terminal; raises ``refused`` for any other answer.

    Without a terminal ``-q`` must have been given: RefusedError.
    """
    if batch_mode:
        return
    if not is_interactive():
        raise RefusedError(f"{warning}; confirm it with -q/--batch-mode")
    click.echo(f"{warning}.", err=True)
    click.echo("Are you sure? (Type YES in capital letters): ", err=True, nl=False)
    if sys.stdin.readline().strip() != "YES":
        raise refused("not confirmed; nothing was written")


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    if path == "-":
        yield STDIN
        return
    if Path(path).is_dir():
        raise IsADirectoryError(None, "is a directory")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _fill(descriptor: int, buffer: memoryview) -> int:
    """Read until the buffer is full or the input ends; how many bytes there were."""
    length = 0
    while length < len(buffer):
        data = os.read(descriptor, min(_CHUNK, len(buffer) - length))
        if not data:
            break
        buffer[length : length + len(data)] = data
        length += len(data)
    return length


def _read_line(descriptor: int, source: str) -> SecretBytes:
    """A line without its newline, read byte by byte: what follows stays for the next reader."""
    with SecretBytes(PASSPHRASE_MAX + 1) as buffer:
        length = 0
        while True:
            byte = os.read(descriptor, 1)
            if not byte and not length:
                raise EndOfInputError(f"passphrase: nothing to read on {source}")
            if byte in (b"", b"\n"):
                return SecretBytes(buffer.view()[:length])
            if length == PASSPHRASE_MAX:
                raise InputError(f"passphrase: more than {PASSPHRASE_MAX} bytes on {source}")
            buffer.view()[length : length + 1] = byte
            length += 1


def _typed(question: str) -> SecretBytes:
    """A line from the terminal without echo."""
    click.echo(f"{question}: ", err=True, nl=False)
    try:
        if sys.platform == "win32":
            return _typed_on_windows()
        return _typed_without_echo()
    finally:
        click.echo(err=True)


def _typed_without_echo() -> SecretBytes:
    import termios

    before = termios.tcgetattr(STDIN)
    silent = [*before]
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(STDIN, termios.TCSAFLUSH, silent)
    try:
        return _read_line(STDIN, "the terminal")
    finally:
        termios.tcsetattr(STDIN, termios.TCSAFLUSH, before)


def _typed_on_windows() -> SecretBytes:
    import getpass

    return SecretBytes(getpass.getpass("").encode())
