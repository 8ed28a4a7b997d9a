"""What a passphrase may have become between the mind and the volume, each variant with its name.

A variant is the given text as a person means it, changed by at most two of these steps, in the
order in which they happen: what was meant (spelling), the keyboard, the Unicode form, the encoding,
and what a file or a pipe has added at the end.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice, product
from typing import Final, Literal, TypeAlias

from luksmeta.forensics.guessing import keyboards

VARIANTS_MAX: Final = 5000
"""The likeliest of a passphrase; more would be guessing, for which there are word lists."""
TEXT_MAX: Final = 512
"""Bytes that somebody may have typed; longer ones are key files, of which only the end varies."""

_Change: TypeAlias = Callable[[str], str | None]  # None: makes no sense for this text
_Encode: TypeAlias = Callable[[str], bytes | None]
_LEFT_SINGLE, _RIGHT_SINGLE, _LOW_SINGLE = "\u2018", "\u2019", "\u201a"
_LEFT_DOUBLE, _RIGHT_DOUBLE, _LOW_DOUBLE = "\u201c", "\u201d", "\u201e"
_EN_DASH, _EM_DASH, _ELLIPSIS, _HARD_SPACE = "\u2013", "\u2014", "\u2026", "\u00a0"
_STRAIGHT: Final = str.maketrans(
    {
        **dict.fromkeys((_LEFT_SINGLE, _RIGHT_SINGLE, _LOW_SINGLE), "'"),
        **dict.fromkeys((_LEFT_DOUBLE, _RIGHT_DOUBLE, _LOW_DOUBLE), '"'),
        **dict.fromkeys((_EN_DASH, _EM_DASH), "-"),
        _ELLIPSIS: "...",
        _HARD_SPACE: " ",
    }
)
_ENCODINGS: Final = (
    ("latin-1", "in Latin-1"),
    ("cp1252", "in Windows-1252"),
    ("cp850", "in code page 850 (DOS)"),
    ("iso8859-15", "in Latin-9"),
    ("iso8859-2", "in Latin-2"),
    ("cp1250", "in Windows-1250"),
    ("cp1251", "in Windows-1251"),
    ("koi8-r", "in KOI8-R"),
    ("utf-16-le", "in UTF-16 (little-endian)"),
    ("utf-16-be", "in UTF-16 (big-endian)"),
)


@dataclass(frozen=True, slots=True, repr=False)
class Variant:
    """A passphrase, and the name of what was done to the given one."""

    name: str
    passphrase: bytes


@dataclass(frozen=True, slots=True)
class _Step:
    """One thing that may have happened; ``stage`` says when, as no stage comes twice."""

    stage: int
    name: str
    change: _Change | None = None  # of the text
    encode: _Encode | None = None  # to bytes, in place of UTF-8
    finish: Callable[[bytes], bytes | None] | None = None  # of the bytes


AS_GIVEN: Final = "as given"


def variants_of(passphrase: bytes) -> Iterator[Variant]:
    """All variants, the likeliest first, each passphrase once; the given one is the first.

    Bytes that are not UTF-8 are read as Windows-1252; of what is no text or has more than
    ``TEXT_MAX`` bytes only the end varies.
    """
    return islice(_distinct(passphrase), VARIANTS_MAX)


def _distinct(passphrase: bytes) -> Iterator[Variant]:
    seen: set[bytes] = set()
    for variant in _all(passphrase):
        if variant.passphrase not in seen:
            seen.add(variant.passphrase)
            yield variant


def _all(passphrase: bytes) -> Iterator[Variant]:
    yield Variant(AS_GIVEN, passphrase)
    text, reading = _read(passphrase)
    if text is not None and reading:
        yield Variant(reading, text.encode())
    layouts = [] if text is None else list(_layout_steps(text))
    single = ((step,) for step in (*_USUAL, *layouts))
    for steps in chain(single, combinations(_USUAL, 2), product(layouts, _USUAL)):
        made = _carried_out(passphrase, text, sorted(steps, key=lambda step: step.stage))
        if made is not None:
            yield Variant(_name(steps, reading), made)


def _read(passphrase: bytes) -> tuple[str | None, str]:
    """The text that was meant, and what its variants are named by besides; None for no text."""
    if len(passphrase) > TEXT_MAX:
        return None, ""
    for encoding, assumed in (("utf-8", ""), ("cp1252", "in UTF-8")):
        try:
            return passphrase.decode(encoding), assumed
        except UnicodeDecodeError:
            continue
    return None, ""


def _name(steps: Sequence[_Step], reading: str) -> str:
    names = [step.name for step in sorted(steps, key=lambda step: step.stage)]
    if reading and any(s.change for s in steps) and not any(s.encode for s in steps):
        names.append(reading)
    return ", ".join(names)


def _carried_out(passphrase: bytes, text: str | None, steps: Sequence[_Step]) -> bytes | None:
    """What the steps make of it; None where one makes no sense, or two are of one stage."""
    if len({step.stage for step in steps}) < len(steps):
        return None
    made: bytes | None = passphrase
    if any(step.change or step.encode for step in steps):
        for step in steps:
            if text is not None and step.change is not None:
                text = step.change(text)
        if text is None:
            return None
        encode = next((step.encode for step in steps if step.encode is not None), str.encode)
        made = encode(text)
    for step in steps:
        if made is not None and step.finish is not None:
            made = step.finish(made)
    return made


_SPELLING, _KEYBOARD, _FORM, _ENCODING, _END = range(5)


def _layout_steps(text: str) -> Iterator[_Step]:
    """The confusions of two layouts that make something else of the text, each result once."""
    seen: set[str | None] = {None, text}
    for keys, read_as in keyboards.confusions():
        made = keys.read_as(read_as, text)
        if made not in seen:
            seen.add(made)
            name = f"typed on a {keys.title} layout read as {read_as.title}"
            yield _Step(_KEYBOARD, name, change=_confusion(keys, read_as))


def _confusion(keys: keyboards.Keyboard, read_as: keyboards.Keyboard) -> _Change:
    return lambda text: keys.read_as(read_as, text)


def caps_lock(text: str) -> str:
    """Each letter in the other case, unless that is more than one letter."""
    return "".join(swap if len(swap := each.swapcase()) == 1 else each for each in text)


def _first(change: Callable[[str], str]) -> _Change:
    return lambda text: change(text[:1]) + text[1:]


def _smart(text: str) -> str:
    """As word processors set it: quotes curved by what stands before them, dashes long."""
    made = []
    for before, each in zip(" " + text, text, strict=False):
        opens = before in " ([{-"
        if each == '"':
            made.append(_LEFT_DOUBLE if opens else _RIGHT_DOUBLE)
        elif each == "'":
            made.append(_LEFT_SINGLE if opens else _RIGHT_SINGLE)
        else:
            made.append(each)
    return "".join(made)


def _form(name: Literal["NFC", "NFD", "NFKC", "NFKD"]) -> _Change:
    return lambda text: unicodedata.normalize(name, text)


def _in(encoding: str) -> _Encode:
    def encode(text: str) -> bytes | None:
        try:
            return text.encode(encoding)
        except UnicodeEncodeError:
            return None

    return encode


def _twice(text: str) -> bytes | None:
    """UTF-8 that somebody took for Windows-1252 and encoded again."""
    try:
        return text.encode().decode("cp1252").encode()
    except UnicodeDecodeError:
        return None


def _adding(end: bytes) -> Callable[[bytes], bytes]:
    return lambda made: made + end


_ENDS: Final = (
    _Step(_END, "without the trailing newline", finish=lambda made: made.rstrip(b"\r\n")),
    _Step(_END, "with the trailing newline", finish=_adding(b"\n")),
    _Step(_END, "with a trailing CR and newline", finish=_adding(b"\r\n")),
    _Step(_END, "with a trailing CR", finish=_adding(b"\r")),
    _Step(_END, "with a trailing zero byte", finish=_adding(b"\0")),
    _Step(_END, "up to the first newline", finish=lambda made: made.partition(b"\n")[0]),
)
_TYPED: Final = (
    _Step(_KEYBOARD, "with Caps Lock on", change=caps_lock),
    _Step(_SPELLING, "with the first letter in upper case", change=_first(str.upper)),
    _Step(_SPELLING, "with the first letter in lower case", change=_first(str.lower)),
    _Step(_SPELLING, "without spaces around it", change=lambda text: text.strip(" \t")),
    _Step(_SPELLING, "with a trailing space", change=lambda text: text + " "),
    _Step(_SPELLING, "with a leading space", change=lambda text: " " + text),
    _Step(_SPELLING, "without any spaces", change=lambda text: text.replace(" ", "")),
    _Step(_SPELLING, "all in lower case", change=str.lower),
    _Step(_SPELLING, "all in upper case", change=str.upper),
    _Step(_SPELLING, "with straight quotes and dashes", change=lambda t: t.translate(_STRAIGHT)),
    _Step(_SPELLING, "with smart quotes", change=_smart),
    _Step(_SPELLING, "with an en dash", change=lambda text: text.replace("-", _EN_DASH)),
    _Step(_SPELLING, "with an em dash", change=lambda text: text.replace("--", _EM_DASH)),
    _Step(_SPELLING, "with an ellipsis", change=lambda text: text.replace("...", _ELLIPSIS)),
)
_BYTES: Final = (
    _Step(_FORM, "in Unicode form NFC", change=_form("NFC")),
    _Step(_FORM, "in Unicode form NFD", change=_form("NFD")),
    _Step(_FORM, "in Unicode form NFKC", change=_form("NFKC")),
    _Step(_FORM, "in Unicode form NFKD", change=_form("NFKD")),
    *(_Step(_ENCODING, name, encode=_in(encoding)) for encoding, name in _ENCODINGS),
    _Step(
        _ENCODING, "in UTF-8 with a byte order mark", encode=lambda t: codecs.BOM_UTF8 + t.encode()
    ),
    _Step(_ENCODING, "in UTF-8 encoded twice", encode=_twice),
)
_USUAL: Final = (*_ENDS, *_TYPED, *_BYTES)
