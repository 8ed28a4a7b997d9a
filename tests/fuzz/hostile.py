"""JSON texts that mean harm: a tree that keeps what JSON forbids, and random changes of it.

Members of equal name, numbers that no double holds, half surrogates and bare words survive a round
through :func:`parse` and :func:`spell`. All changes come from one ``random.Random``, so that a seed
names them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeAlias


@dataclass
class Literal:
    """A text that stands in a JSON text as it is, whether it means anything or not."""

    text: str


@dataclass
class Members:
    """An object as its members stand, equal names included."""

    pairs: list[tuple[str, Any]]


Tree: TypeAlias = Any  # Members, list, str, Literal, bool or None, all the way down

NUMBERS: Final = (
    *("0", "1", "-1", "-0", "2", "4000", "4001", "512", "511", "4096", "00", "1.0", "1.5", "1e2"),
    *("4294967295", "4294967296", "2147483648", "9223372036854775808", "18446744073709551616"),
    *("-9223372036854775809", "1e308", "1e309", "1E400", "-1e-400", "0.1e1", "NaN", "Infinity"),
    *("-Infinity", "9" * 60, "9" * 4400, "0." + "3" * 400, "0x10", "+1", "1_000", "٣"),
)
TEXTS: Final = (
    *("", "0", "1", "01", "-1", "+1", " 1", "1 ", "1_0", "٣", "²", "0x10", "1e3", "dynamic"),
    *("512", "4096", "16384", "12288", "131072", "1048576", "16777216", "18446744073709551104"),
    *("18446744073709551615", "18446744073709551616", "9" * 60, "0" * 1001 + "1", "9" * 5000),
    *("luks2", "luks1", "reencrypt", "raw", "none", "journal", "checksum", "datashift"),
    *("datashift-checksum", "datashift-journal", "pbkdf2", "argon2i", "argon2id", "crypt"),
    *("linear", "hw-opal", "hw-opal-crypt", "luks2-keyring", "in-reencryption"),
    *("backup-previous", "backup-final", "backup-moved-segment", "online-reencrypt"),
    *("online-reencrypt-v2", "online-reencrypt-v3", "online-reencrypt-v9", "allow-discards"),
    *("sha1", "sha256", "SHA-512", "sha3-512", "md5", "whirlpool", "crc32", "blake2b-512"),
    *("aes-xts-plain64", "aes-cbc-essiv:sha256", "aes-cbc-essiv:", "cipher_null-ecb", "null"),
    *("aes-lrw-benbi", "serpent-xts-plain64", "aes:64-cbc-lmk", "aes-cbc-tcw", "aes-ecb"),
    *("aes-cbc-elephant", "xchacha12,aes-adiantum-plain64", "aes-hctr2-plain64", "des-cbc-plain"),
    *("capi:xts(aes)-plain64", "capi:essiv(cbc(aes),sha256)-plain64", "capi:", "capi:((("),
    *("aes", "-", "--", ":", "aes:2-xts-plain64", "aes:999999999-cbc-plain", "aes-xts-plain64:x"),
    *("a" * 300, "AAAA", "A===", "=", "!", "z6vz4xK7cjan92rDA5JF8O6Jk2HouV0O8DMB6GlztVk="),
    *("\0", "a\0b", "\x1b[2J", "\r\n", "\u202e\u2066", "\ud800", "\udfff\ud800", "\udc80", "é"),
    *("\N{PILE OF POO}", "\uffff", "x" * 5000, "requirements", "mandatory"),
)
NAMES: Final = (
    *("type", "keyslots", "segments", "digests", "tokens", "config", "json_size", "flags"),
    *("keyslots_size", "requirements", "mandatory", "key_size", "area", "kdf", "af", "priority"),
    *("offset", "size", "encryption", "hash", "stripes", "salt", "iterations", "time", "memory"),
    *("cpus", "digest", "iv_tweak", "sector_size", "integrity", "journal_encryption", "mode"),
    *("journal_integrity", "direction", "shift_size", "opal_segment_number", "opal_key_size"),
    *("opal_segment_size", "0", "1", "2", "31", "32", "255", "2147483647", "2147483648", "-1"),
    *("01", "", " 0", "٣", "\0", "\ud800", "x" * 300, "__class__", "9" * 4400),
)
_DEEP: Final = (30, 31, 32, 33, 500, 3000)


def parse(text: bytes) -> Tree:
    """The tree of a JSON text; ValueError or RecursionError for one that Python does not read."""
    return json.loads(
        text.decode("utf-8", "surrogateescape"),
        strict=False,
        object_pairs_hook=Members,
        parse_int=Literal,
        parse_float=Literal,
        parse_constant=Literal,
    )


def spell(tree: Tree) -> bytes:
    """The JSON text of a tree; lone surrogates are bytes where they stand for some."""
    return "".join(_tokens(tree)).encode("utf-8", "surrogateescape")


def _tokens(tree: Tree) -> Iterator[str]:
    match tree:
        case Literal(text):
            yield text
        case Members(pairs):
            yield "{"
            for index, (name, value) in enumerate(pairs):
                yield ("," if index else "") + _string(name) + ":"
                yield from _tokens(value)
            yield "}"
        case list():
            yield "["
            for index, value in enumerate(tree):
                yield "," if index else ""
                yield from _tokens(value)
            yield "]"
        case str():
            yield _string(tree)
        case _:
            yield json.dumps(tree)


def _string(text: str) -> str:
    """Escaped where it must be: a byte that is no UTF-8 stays one, other half pairs are escapes."""
    spelled = json.dumps(text, ensure_ascii=False)
    return "".join(
        f"\\u{ord(each):04x}"
        if 0xD800 <= ord(each) <= 0xDFFF and not 0xDC80 <= ord(each) <= 0xDCFF
        else each
        for each in spelled
    )


def value(random: Random) -> Tree:
    """Something that hardly any member should be."""
    match random.randrange(8):
        case 0 | 1 | 2:
            return random.choice(TEXTS)
        case 3 | 4:
            return Literal(random.choice(NUMBERS))
        case 5:
            return random.choice((None, True, False, [], Members([])))
        case 6:
            return [value(random) for _ in range(random.choice((1, 2, 5, 40)))]
        case _:
            return Members([(random.choice(NAMES), value(random)) for _ in range(3)])


def nested(depth: int) -> Tree:
    """A text of arrays or objects inside each other, deeper than any reader wants to follow."""
    return Literal("[" * depth + "]" * depth if depth % 2 else '{"":' * depth + "0" + "}" * depth)


def changed(tree: Tree, random: Random, changes: int) -> Tree:
    """The same tree, changed in place so many times."""
    for _ in range(changes):
        places = list(_places(tree))
        if not places:
            return value(random)
        random.choice(_CHANGES)(random, *random.choice(places), places)
    return tree


_Place: TypeAlias = tuple[Any, int]  # a Members or a list, and an index into it


def _places(tree: Tree) -> Iterator[_Place]:
    inside = [tree]
    while inside:
        holder = inside.pop()
        for index, each in enumerate(_values(holder)):
            yield holder, index
            inside.append(each)


def _values(holder: Tree) -> list[Tree]:
    match holder:
        case Members(pairs):
            return [value for _, value in pairs]
        case list():
            return holder
        case _:
            return []


def _get(holder: Any, index: int) -> Tree:  # noqa: ANN401  # a Members or a list
    return _values(holder)[index]


def _set(holder: Any, index: int, new: Tree) -> None:  # noqa: ANN401  # a Members or a list
    if isinstance(holder, Members):
        holder.pairs[index] = (holder.pairs[index][0], new)
    else:
        holder[index] = new


def _replace(random: Random, holder: Any, index: int, places: list[_Place]) -> None:  # noqa: ANN401
    _set(holder, index, value(random))


def _replace_alike(random: Random, holder: Any, index: int, places: list[_Place]) -> None:  # noqa: ANN401
    """By another value of the same JSON type: what gets past the checks of shape."""
    old = _get(holder, index)
    if isinstance(old, str):
        _set(holder, index, random.choice(TEXTS))
    elif isinstance(old, Literal):
        _set(holder, index, Literal(random.choice(NUMBERS)))


def _replace_by_another(random: Random, holder: Any, index: int, places: list[_Place]) -> None:  # noqa: ANN401
    """By a value from elsewhere in the document."""
    _set(holder, index, copy.deepcopy(_get(*random.choice(places))))


def _nest(random: Random, holder: Any, index: int, places: list[_Place]) -> None:  # noqa: ANN401
    _set(holder, index, nested(random.choice(_DEEP)))


def _drop(random: Random, holder: Any, index: int, places: list[_Place]) -> None:  # noqa: ANN401
    del (holder.pairs if isinstance(holder, Members) else holder)[index]


def _double(random: Random, holder: Any, index: int, places: list[_Place]) -> None:  # noqa: ANN401
    """The same member or element once more, perhaps with another value."""
    within = holder.pairs if isinstance(holder, Members) else holder
    within.insert(random.randrange(len(within) + 1), within[index])
    if random.randrange(2):
        _set(holder, index, value(random))


def _rename(random: Random, holder: Any, index: int, places: list[_Place]) -> None:  # noqa: ANN401
    if isinstance(holder, Members):
        holder.pairs[index] = (random.choice(NAMES), holder.pairs[index][1])


def _add(random: Random, holder: Any, index: int, places: list[_Place]) -> None:  # noqa: ANN401
    if isinstance(holder, Members):
        holder.pairs.append((random.choice(NAMES), value(random)))
    else:
        holder.append(value(random))


def _nudge(random: Random, holder: Any, index: int, places: list[_Place]) -> None:  # noqa: ANN401
    """A number, as such or in a string, moved a little: off by one, by a sector, by a page."""
    old = _get(holder, index)
    text = old.text if isinstance(old, Literal) else old
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 40:
        return
    moved = str(int(text) + random.choice((-4096, -512, -1, 1, 512, 4096, 1 << 32)))
    _set(holder, index, Literal(moved) if isinstance(old, Literal) else moved)


_CHANGES: Final[tuple[Callable[..., None], ...]] = (
    *(_replace, _replace_alike, _replace_alike, _replace_alike, _replace_by_another, _nest),
    *(_drop, _double, _rename, _add, _add, _nudge, _nudge, _nudge),
)
