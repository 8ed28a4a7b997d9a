"""Rules that make passphrases of words, in the language of hashcat's rule files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from luksmeta.errors import LuksError, errors_about
from luksmeta.forensics.guessing.word_functions import CHARACTER, FUNCTIONS
from luksmeta.system_errors import storage_error

WORD_MAX: Final = 256  # hashcat: include/types.h, RP_PASSWORD_SIZE
RULES_MAX: Final = 1_000_000  # of one file; hashcat's longest have 100,000
_SIZE_MAX: Final = 64 << 20  # bytes; hashcat's largest rule file has 1 MiB
_DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Function: TypeAlias = Callable[[bytes], bytes]
"""What one function of a rule does to a word, its positions and characters given."""


class RuleError(LuksError):
    """A line of a rule file makes no sense, or has a function that is not known."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: its number in the file, its text, and what it does to a word.

    Bytes of the line that are no UTF-8 are lone surrogates in ``text``.
    """

    line: int
    text: str
    functions: tuple[Function, ...]

    def apply(self, word: bytes) -> bytes:
        """What it makes of ``word``."""
        for function in self.functions:
            made = function(word)
            if len(made) <= max(WORD_MAX, len(word)):
                word = made
        return word


def load_rules(path: str) -> tuple[Rule, ...]:
    """The rules of a file, at least one; RuleError and StorageError name it."""
    with errors_about(path):
        try:
            with Path(path).open("rb") as file:
                content = file.read(_SIZE_MAX + 1)
        except OSError as error:
            raise storage_error(error) from error
        if len(content) > _SIZE_MAX:
            raise RuleError(f"more than {_SIZE_MAX} bytes of rules")
        rules = tuple(parse(content))
        if not rules:
            raise RuleError("no rule in it")
    return rules


def parse(content: bytes) -> Iterator[Rule]:
    """The rules of a file; empty lines and those that begin with ``#`` are none. RuleError."""
    count = 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        line = line.removesuffix(b"\r")
        if not line.strip() or line.startswith(b"#"):
            continue
        count += 1
        if count > RULES_MAX:
            raise RuleError(f"line {number}: more than {RULES_MAX} rules")
        yield Rule(number, line.decode(errors="surrogateescape"), tuple(_functions(line, number)))


def _functions(line: bytes, number: int) -> Iterator[Function]:
    at = 0
    while at < len(line):
        name = chr(line[at])
        at += 1
        if name in " \t":
            continue
        if name not in FUNCTIONS:
            raise RuleError(f"line {number}: function {name!r} is not known here")
        kinds, function = FUNCTIONS[name]
        given = line[at : at + len(kinds)]
        at += len(kinds)
        if len(given) < len(kinds):
            raise RuleError(f"line {number}: function {name!r} needs {len(kinds)} characters")
        arguments = [_argument(kind, each, number) for kind, each in zip(kinds, given, strict=True)]
        yield partial(function, *arguments)


def _argument(kind: str, given: int, number: int) -> int:
    if kind == CHARACTER:
        return given
    if given not in _DIGITS:
        raise RuleError(f"line {number}: {chr(given)!r} is no position, 0 to 9 and A to Z are")
    return _DIGITS.index(given)
