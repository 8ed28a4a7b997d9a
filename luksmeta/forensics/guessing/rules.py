"""Rules that make passphrases of words, in the language of hashcat's rule files.

The functions are those of https://hashcat.net/wiki/doku.php?id=rule_based_attack that change a word
by itself: ``: l u c C t TN r d pN f { } $X ^X [ ] DN xNN ONN iNX oNX 'N sXX @X zN ZN q k K *NN LN
RN +N -N .N ,N yN YN E eX``, where N is a position or number, X a character. Words are bytes, and
letters those of ASCII; N is 0 to 9, then A to Z for 10 to 35. A function that does not fit the
word, or would make it longer than 256 bytes, leaves it as it is. Rejections and the memory (``< > !
/ M X4 6 Q`` and so on) are not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from luksmeta.errors import LuksError, errors_about
from luksmeta.system_errors import storage_error

WORD_MAX: Final = 256  # hashcat: include/types.h, RP_PASSWORD_SIZE
RULES_MAX: Final = 1_000_000  # of one file; hashcat's longest have 100,000
_SIZE_MAX: Final = 64 << 20  # bytes; hashcat's largest rule file has 1 MiB
_DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SPACE: Final = ord(" ")

Function: TypeAlias = Callable[[bytes], bytes]


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
        if name not in _FUNCTIONS:
            raise RuleError(f"line {number}: function {name!r} is not known here")
        kinds, function = _FUNCTIONS[name]
        given = line[at : at + len(kinds)]
        at += len(kinds)
        if len(given) < len(kinds):
            raise RuleError(f"line {number}: function {name!r} needs {len(kinds)} characters")
        arguments = [_argument(kind, each, number) for kind, each in zip(kinds, given, strict=True)]
        yield partial(function, *arguments)


def _argument(kind: str, given: int, number: int) -> int:
    if kind == _CHARACTER:
        return given
    if given not in _DIGITS:
        raise RuleError(f"line {number}: {chr(given)!r} is no position, 0 to 9 and A to Z are")
    return _DIGITS.index(given)


# --- the functions; positions and characters come before the word ---


def _capitalize(word: bytes) -> bytes:
    return word[:1].upper() + word[1:].lower()


def _uncapitalize(word: bytes) -> bytes:
    return word[:1].lower() + word[1:].upper()


def _toggle_at(at: int, word: bytes) -> bytes:
    return word[:at] + word[at : at + 1].swapcase() + word[at + 1 :]


def _repeat(times: int, word: bytes) -> bytes:
    return word * (times + 1)


def _append(character: int, word: bytes) -> bytes:
    return word + bytes([character])


def _prepend(character: int, word: bytes) -> bytes:
    return bytes([character]) + word


def _delete(at: int, word: bytes) -> bytes:
    return word[:at] + word[at + 1 :]


def _extract(at: int, size: int, word: bytes) -> bytes:
    return word[at : at + size] if at + size <= len(word) and at < len(word) else word


def _omit(at: int, size: int, word: bytes) -> bytes:
    return word[:at] + word[at + size :] if at + size <= len(word) and at < len(word) else word


def _insert(at: int, character: int, word: bytes) -> bytes:
    return word[:at] + bytes([character]) + word[at:] if at <= len(word) else word


def _overwrite(at: int, character: int, word: bytes) -> bytes:
    return word[:at] + bytes([character]) + word[at + 1 :] if at < len(word) else word


def _truncate(at: int, word: bytes) -> bytes:
    return word[:at]


def _substitute(old: int, new: int, word: bytes) -> bytes:
    return word.replace(bytes([old]), bytes([new]))


def _purge(character: int, word: bytes) -> bytes:
    return word.replace(bytes([character]), b"")


def _first_again(times: int, word: bytes) -> bytes:
    return word[:1] * times + word


def _last_again(times: int, word: bytes) -> bytes:
    return word + word[-1:] * times


def _double_each(word: bytes) -> bytes:
    return bytes(character for character in word for _ in range(2))


def _swap(one: int, other: int, word: bytes) -> bytes:
    if max(one, other) >= len(word):
        return word
    made = bytearray(word)
    made[one], made[other] = made[other], made[one]
    return bytes(made)


def _swap_front(word: bytes) -> bytes:
    return _swap(0, 1, word)


def _swap_back(word: bytes) -> bytes:
    return _swap(len(word) - 2, len(word) - 1, word) if len(word) >= 2 else word


def _changed_at(change: Callable[[int], int], at: int, word: bytes) -> bytes:
    if at >= len(word):
        return word
    return word[:at] + bytes([change(word[at]) & 0xFF]) + word[at + 1 :]


def _copied_to(distance: int, at: int, word: bytes) -> bytes:
    """The neighbour's character; where there is none, nothing changes."""
    if not (at < len(word) and 0 <= at + distance < len(word)):
        return word
    return _overwrite(at, word[at + distance], word)


def _front_again(size: int, word: bytes) -> bytes:
    return word[:size] + word if size <= len(word) else word


def _back_again(size: int, word: bytes) -> bytes:
    return word + word[len(word) - size :] if size <= len(word) else word


def _title(separator: int, word: bytes) -> bytes:
    made = bytearray(word.lower())
    for at, character in enumerate(word):
        if at == 0:
            made[at : at + 1] = made[at : at + 1].upper()
        if character == separator:
            made[at + 1 : at + 2] = made[at + 1 : at + 2].upper()
    return bytes(made)


_POSITION, _CHARACTER = "N", "X"
_FUNCTIONS: Final[dict[str, tuple[str, Callable[..., bytes]]]] = {
    ":": ("", bytes),
    "l": ("", bytes.lower),
    "u": ("", bytes.upper),
    "c": ("", _capitalize),
    "C": ("", _uncapitalize),
    "t": ("", bytes.swapcase),
    "T": ("N", _toggle_at),
    "r": ("", lambda word: word[::-1]),
    "d": ("", lambda word: word * 2),
    "p": ("N", _repeat),
    "f": ("", lambda word: word + word[::-1]),
    "{": ("", lambda word: word[1:] + word[:1]),
    "}": ("", lambda word: word[-1:] + word[:-1]),
    "$": ("X", _append),
    "^": ("X", _prepend),
    "[": ("", lambda word: word[1:]),
    "]": ("", lambda word: word[:-1]),
    "D": ("N", _delete),
    "x": ("NN", _extract),
    "O": ("NN", _omit),
    "i": ("NX", _insert),
    "o": ("NX", _overwrite),
    "'": ("N", _truncate),
    "s": ("XX", _substitute),
    "@": ("X", _purge),
    "z": ("N", _first_again),
    "Z": ("N", _last_again),
    "q": ("", _double_each),
    "k": ("", _swap_front),
    "K": ("", _swap_back),
    "*": ("NN", _swap),
    "L": ("N", partial(_changed_at, lambda character: character << 1)),
    "R": ("N", partial(_changed_at, lambda character: character >> 1)),
    "+": ("N", partial(_changed_at, lambda character: character + 1)),
    "-": ("N", partial(_changed_at, lambda character: character - 1)),
    ".": ("N", partial(_copied_to, 1)),
    ",": ("N", partial(_copied_to, -1)),
    "y": ("N", _front_again),
    "Y": ("N", _back_again),
    "E": ("", partial(_title, _SPACE)),
    "e": ("X", _title),
}
