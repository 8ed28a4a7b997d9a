"""Passphrases, keys and confirmations: where they come from, and the rules of each source.

As cryptsetup reads them (src/utils_password.c, lib/utils.c): a key file is the passphrase, newlines
included; standard input that is no terminal gives one line per passphrase, or as many bytes of a
line as are asked for.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from luksmeta.cli import output
from luksmeta.errors import LuksError, StoragePermissionError
from luksmeta.secret import SecretBytes
from luksmeta.sizes import counted

PASSPHRASE_MAX: Final = 512  # bytes typed or piped, configure.ac
KEY_FILE_MAX: Final = 8 << 20  # bytes, configure.ac
STDIN: Final = 0
_CHUNK: Final = 1 << 16
_FIRST_READ: Final = 1 << 12  # bytes
_GROWTH: Final = 8
_NEWLINE: Final = ord("\n")


class InputError(LuksError):
    """A passphrase or an answer could not be had."""


def input_error(name: str, error: OSError) -> LuksError:
    """The error for an input file that the system does not open or read."""
    text = (error.strerror or str(error)).lower()
    kind = StoragePermissionError if isinstance(error, PermissionError) else InputError
    return kind(text).about(name)


class MismatchError(InputError):
    """A new passphrase was not typed the same way twice."""

    exit_status = 2  # as all below: src/utils_tools.c, EPERM


class UnconfirmedError(LuksError):
    """Nobody can be asked, and no option confirms it."""


class RefusedError(LuksError):
    """The user was asked, and did not confirm."""

    exit_status = 2


class FormatRefusedError(RefusedError):
    """The same of a new volume: luksFormat alone has another status (src/cryptsetup.c, EINVAL)."""

    exit_status = 1


class EndOfInputError(InputError):
    """There is nothing to read."""


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a passphrase is: a key file (``-``: standard input), or without one the next line.

    ``size`` bytes of it (None or 0: all) from ``offset`` on.
    """

    path: str | None = None
    offset: int = 0
    size: int | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        if self.path not in (None, "-"):
            return f"key file {self.path}"
        return "the terminal" if is_interactive() else "standard input"

    @property
    def is_typed(self) -> bool:
        """Whether a person is asked: there is no other file than standard input, a terminal."""
        return self.path in (None, "-") and is_interactive()

    @property
    def takes_all_input(self) -> bool:
        """Whether nothing of standard input is left for anybody else."""
        return self.path == "-" and not self.size and not is_interactive()

    def read(self) -> SecretBytes:
        """The passphrase in it; InputError when it is missing, too short or too long."""
        try:
            with _opened(self.path) as descriptor:
                self._skip(descriptor)
                return self._read_from(descriptor)
        except OSError as error:
            raise input_error(self.name, error) from error

    def _read_from(self, descriptor: int) -> SecretBytes:
        limit = self._limit()
        with ExitStack() as buffers:
            size = limit + (not self.size)
            if self.path is None:
                buffer = buffers.enter_context(SecretBytes(size))
                length, is_something = _fill_with_line(descriptor, buffer.view())
            else:
                buffer, length = _read_up_to(descriptor, size, buffers)
                is_something = length > 0 or _may_be_empty(descriptor)
            view = buffer.view()
            if not is_something:
                raise EndOfInputError(f"passphrase: nothing to read on {self.name}")
            if length > limit:
                raise InputError(f"a passphrase of more than {limit} bytes").about(self.name)
            if self.size and length < limit:
                raise InputError(f"{counted(length, 'byte')} there, {limit} asked for").about(
                    self.name
                )
            return SecretBytes(view[:length])

    def _limit(self) -> int:
        """How many bytes the passphrase may have, or must have when a size is given."""
        if not self.size:
            return PASSPHRASE_MAX if self.path is None else KEY_FILE_MAX
        if self.size > KEY_FILE_MAX:
            text = f"{self.size} bytes asked for, {KEY_FILE_MAX} at most"
            raise InputError(text).about(self.name)
        return self.size

    def _skip(self, descriptor: int) -> None:
        left = self.offset
        with SecretBytes(min(left, _CHUNK)) as dropped:
            while left:
                skipped = _read_into(descriptor, dropped.view()[:left])
                if not skipped:
                    text = f"offset {self.offset} is {counted(left, 'byte')} past its end"
                    raise InputError(text).about(self.name)
                left -= skipped


def read_passphrase(question: str, source: KeySource, *, verify: bool = False) -> SecretBytes:
    """A passphrase from its source; typed ones are asked for twice to ``verify``. InputError."""
    if not source.is_typed:
        output.log(f"{question}: from {source.name}")
        return source.read()
    if source.offset:
        raise InputError("keyfile offset: what is typed has none")
    passphrase = _typed(question)
    if verify:
        with _typed(f"{question} again") as again:
            if not passphrase.matches(again):
                passphrase.wipe()
                raise MismatchError("passphrases do not match")
    return passphrase


def is_interactive() -> bool:
    """Whether a person can be asked: standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def confirm(
    file: str, warning: str, *, batch_mode: bool, refused: type[RefusedError] = RefusedError
) -> None:
    """Ask for ``YES`` on a terminal before something is done to ``file``; else raise ``refused``.

    Without a terminal ``-q`` must have been given: UnconfirmedError.
    """
    if batch_mode:
        return
    if not is_interactive():
        raise UnconfirmedError(f"{warning}; confirm it with -q/--batch-mode").about(file)
    text = f"{file}: {warning}."
    output.show(output.one_line(text))
    output.show("Are you sure? (Type YES in capital letters): ", end="")
    if sys.stdin.readline().strip() != "YES":
        raise refused("not confirmed; nothing was written").about(file)


@contextlib.contextmanager
def _opened(path: str | None) -> Iterator[int]:
    if path in (None, "-"):
        yield STDIN
        return
    if Path(path).is_dir():
        raise IsADirectoryError(None, "is a directory")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _may_be_empty(descriptor: int) -> bool:
    """A file may hold the empty passphrase; a pipe or standard input without a byte is a mistake.

    Without this a second ``-`` would set the empty passphrase (lib/utils.c, the same rule).
    """
    return descriptor != STDIN and stat.S_ISREG(os.fstat(descriptor).st_mode)


def _read_up_to(descriptor: int, size: int, buffers: ExitStack) -> tuple[SecretBytes, int]:
    """Read ``size`` bytes, fewer where the input ends: a buffer, and how many are in it.

    It grows with what there is: to lock and wipe 8 MiB takes 8 ms, and most key files are small.
    """
    buffer, length = buffers.enter_context(SecretBytes(min(size, _FIRST_READ))), 0
    while length < size:
        if length == len(buffer):
            larger = buffers.enter_context(SecretBytes(min(size, _GROWTH * length)))
            larger.view()[:length] = buffer.view()
            buffer.wipe()
            buffer = larger
        count = _read_into(descriptor, buffer.view()[length:])
        if not count:
            break
        length += count
    return buffer, length


def _fill_with_line(descriptor: int, buffer: memoryview) -> tuple[int, bool]:
    """Read up to a newline, byte by byte: what follows stays for the next reader.

    How many bytes there were, and whether there was anything, be it the newline.
    """
    for length in range(len(buffer)):
        count = _read_into(descriptor, buffer[length : length + 1])
        if not count:
            return length, length > 0
        if buffer[length] == _NEWLINE:
            buffer[length] = 0
            return length, True
    return len(buffer), True


def _read_into(descriptor: int, buffer: memoryview) -> int:
    """As ``os.read``, which would leave an immutable copy; how many bytes there were."""
    with io.FileIO(descriptor, closefd=False) as file:
        count = file.readinto(buffer)
    if count is None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return count


def _typed(question: str) -> SecretBytes:
    """A line from the terminal without echo."""
    output.show(f"{output.one_line(question)}: ", end="")
    try:
        if sys.platform == "win32":
            return _typed_on_windows()
        return _typed_without_echo()
    finally:
        output.show("")


def _typed_without_echo() -> SecretBytes:
    import termios

    before = termios.tcgetattr(STDIN)
    silent = [*before]
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(STDIN, termios.TCSAFLUSH, silent)
    try:
        return KeySource().read()
    finally:
        termios.tcsetattr(STDIN, termios.TCSAFLUSH, before)


def _typed_on_windows() -> SecretBytes:
    import getpass

    return SecretBytes(getpass.getpass("").encode())
