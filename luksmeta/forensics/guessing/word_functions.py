"""What the functions of rules do to a word.

Those of https://hashcat.net/wiki/doku.php?id=rule_based_attack that change a word
by itself: ``: l u c C t TN r d pN f { } $X ^X [ ] DN xNN ONN iNX oNX 'N sXX @X zN ZN q k K *NN LN
RN +N -N .N ,N yN YN E eX``, where N is a position or number, X a character. Words are bytes, and
letters those of ASCII; N is 0 to 9, then A to Z for 10 to 35. A function that does not fit the
word, or would make it longer than 256 bytes, leaves it as it is. Rejections and the memory (``< > !
/ M X4 6 Q`` and so on) are not known here. Positions and characters come before the word.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

CHARACTER: Final = "X"
_SPACE: Final = ord(" ")


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


FUNCTIONS: Final[dict[str, tuple[str, Callable[..., bytes]]]] = {
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
"""By its name: what stands behind it in a rule, each ``N`` or ``X``, and what it does."""
