"""The rules about keyslots: who gets in, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from luksmeta.extents import align_up
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Pbkdf2
from luksmeta.luks2.limits import AREA_ALIGNMENT
from luksmeta.model import STRIPES, ForeignKdf, Keyslot, KeyslotPriority
from luksmeta.rules import Finding
from luksmeta.sizes import counted
from luksmeta.trust.rule import NULL_CIPHER_CVES, Check, PolicyRule, Subject
from luksmeta.trust.segment_rules import is_null
from luksmeta.trust.settings import Names, Numbers, Range, switch

_SPEC: Final = "LUKS2 specification 1.1.4, section 3.2"
_OWASP: Final = "https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html"
_RFC_9106: Final = "RFC 9106, section 4"


def _known(subject: Subject) -> Iterator[tuple[int, Keyslot]]:
    for keyslot_id, keyslot in subject.metadata.keyslots.items():
        if isinstance(keyslot, Keyslot):
            yield keyslot_id, keyslot


def _count(subject: Subject, allowed: Range) -> Iterator[Finding]:
    number = len(subject.metadata.keyslots)
    if number not in allowed:
        yield "keyslots", f"header: has {counted(number, 'keyslot')}, allowed are {allowed}"


def _type(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for keyslot_id, keyslot in subject.metadata.keyslots.items():
        if keyslot.type not in allowed:
            text = f"keyslot {keyslot_id}: type is {keyslot.type[:40]!r}, allowed are {allowed}"
            yield f"keyslots.{keyslot_id}.type", text


def _bound(subject: Subject, _: bool) -> Iterator[Finding]:
    for keyslot_id in subject.metadata.keyslots:
        if not subject.metadata.is_bound(keyslot_id):
            yield f"keyslots.{keyslot_id}", f"keyslot {keyslot_id}: opens no segment"


def _not_null(subject: Subject, _: None) -> Iterator[Finding]:
    for keyslot_id, keyslot in _known(subject):
        if is_null(keyslot.area.encryption):
            cipher = keyslot.area.encryption[:40]
            text = (
                f"keyslot {keyslot_id}: its area is encrypted with {cipher!r}, that is not at all"
            )
            yield f"keyslots.{keyslot_id}.area.encryption", text


def _cipher(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for keyslot_id, keyslot in _known(subject):
        if keyslot.area.encryption not in allowed:
            cipher = keyslot.area.encryption[:60]
            text = f"keyslot {keyslot_id}: cipher is {cipher!r}, allowed are {allowed}"
            yield f"keyslots.{keyslot_id}.area.encryption", text


def _key_bits(subject: Subject, allowed: Numbers) -> Iterator[Finding]:
    for keyslot_id, keyslot in _known(subject):
        for name, size in (("key", keyslot.key_size), ("area key", keyslot.area.key_size)):
            if size * 8 not in allowed:
                text = f"keyslot {keyslot_id}: {name} has {size * 8} bits, allowed are {allowed}"
                yield f"keyslots.{keyslot_id}.{'area.' * (name != 'key')}key_size", text


def _kdf(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for keyslot_id, keyslot in _known(subject):
        name = keyslot.kdf.type if isinstance(keyslot.kdf, ForeignKdf) else keyslot.kdf.name
        if name not in allowed:
            text = f"keyslot {keyslot_id}: kdf is {name[:40]!r}, allowed are {allowed}"
            yield f"keyslots.{keyslot_id}.kdf.type", text


def _pbkdf2_hash(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for keyslot_id, keyslot in _known(subject):
        if isinstance(keyslot.kdf, Pbkdf2) and keyslot.kdf.hash not in allowed:
            name = keyslot.kdf.hash[:40]
            text = f"keyslot {keyslot_id}: kdf hash is {name!r}, allowed are {allowed}"
            yield f"keyslots.{keyslot_id}.kdf.hash", text


def _cost(name: str, unit: str, *kinds: type) -> Check:
    """The check of one cost of these KDFs."""

    def check(subject: Subject, allowed: Range) -> Iterator[Finding]:
        for keyslot_id, keyslot in _known(subject):
            if isinstance(keyslot.kdf, kinds):
                cost = getattr(keyslot.kdf, name)
                if cost not in allowed:
                    asked = f"{str(cost)[:40]}{unit}"
                    text = f"keyslot {keyslot_id}: kdf {name} is {asked}, allowed are {allowed}"
                    yield f"keyslots.{keyslot_id}.kdf.{name}", text

    return check


def _salt(subject: Subject, allowed: Numbers) -> Iterator[Finding]:
    for keyslot_id, keyslot in _known(subject):
        if len(keyslot.salt) not in allowed:
            text = (
                f"keyslot {keyslot_id}: salt has "
                f"{counted(len(keyslot.salt), 'byte')}, allowed are {allowed}"
            )
            yield f"keyslots.{keyslot_id}.kdf.salt", text


def _stripes(subject: Subject, allowed: Numbers) -> Iterator[Finding]:
    for keyslot_id, keyslot in _known(subject):
        if keyslot.af.stripes not in allowed:
            stripes = str(keyslot.af.stripes)[:40]
            text = f"keyslot {keyslot_id}: {counted(stripes, 'stripe')}, allowed are {allowed}"
            yield f"keyslots.{keyslot_id}.af.stripes", text


def _af_hash(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for keyslot_id, keyslot in _known(subject):
        if keyslot.af.hash not in allowed:
            name = keyslot.af.hash[:40]
            text = f"keyslot {keyslot_id}: splitter's hash is {name!r}, allowed are {allowed}"
            yield f"keyslots.{keyslot_id}.af.hash", text


def _exact_area(subject: Subject, _: bool) -> Iterator[Finding]:
    """LUKS1's table has fixed places, which reading checks."""
    if subject.metadata.version != 2:
        return
    for keyslot_id, keyslot in _known(subject):
        area, needed = keyslot.area, align_up(keyslot.key_size * STRIPES, AREA_ALIGNMENT)
        if area.size != needed:
            text = (
                f"keyslot {keyslot_id}: area of {counted(area.size, 'byte')}, its key "
                f"takes {needed}"
            )
            yield f"keyslots.{keyslot_id}.area.size", text
        if area.offset % AREA_ALIGNMENT:
            text = f"keyslot {keyslot_id}: area begins at {area.offset:#x}, no multiple of 0x1000"
            yield f"keyslots.{keyslot_id}.area.offset", text


def _priority(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for keyslot_id, keyslot in subject.metadata.keyslots.items():
        priority = KeyslotPriority.NORMAL if keyslot.priority is None else keyslot.priority
        name = priority.name.lower()
        if name not in allowed:
            text = f"keyslot {keyslot_id}: priority is {name}, allowed are {allowed}"
            yield f"keyslots.{keyslot_id}.priority", text


RULES: Final = (
    PolicyRule(
        "keyslot-null-cipher",
        None,
        switch,
        _not_null,
        "A key that is not encrypted opens for any passphrase, and is the attacker's.",
        NULL_CIPHER_CVES,
    ),
    PolicyRule(
        "keyslot-count",
        "keyslots.count",
        Range.parse,
        _count,
        "Each keyslot is a way in; one that nobody knows of is somebody else's.",
        _SPEC,
    ),
    PolicyRule(
        "keyslot-type",
        "keyslots.types",
        Names.parse,
        _type,
        "What a keyslot of another type does, nobody here can say.",
        _SPEC,
    ),
    PolicyRule(
        "keyslot-bound",
        "keyslots.bound",
        switch,
        _bound,
        "A keyslot for another key than the volume's has no place in a small header.",
        "LUKS2 specification 1.1.4, section 3.4",
    ),
    PolicyRule(
        "keyslot-cipher",
        "keyslots.ciphers",
        Names.parse,
        _cipher,
        "The stored volume key is as safe as the cipher around it.",
        _SPEC,
    ),
    PolicyRule(
        "keyslot-key-size",
        "keyslots.key_bits",
        Numbers.parse,
        _key_bits,
        "A short key can be found by trying.",
        "NIST SP 800-131A",
    ),
    PolicyRule(
        "keyslot-kdf",
        "keyslots.kdfs",
        Names.parse,
        _kdf,
        "Another KDF than the one it was made with can make a passphrase cheap to guess.",
        _RFC_9106,
    ),
    PolicyRule(
        "kdf-hash",
        "keyslots.pbkdf2.hashes",
        Names.parse,
        _pbkdf2_hash,
        "Old hashes are fast to compute for whoever guesses.",
        "NIST SP 800-132",
    ),
    PolicyRule(
        "kdf-iterations",
        "keyslots.pbkdf2.iterations",
        Range.parse,
        _cost("iterations", "", Pbkdf2),
        "Few iterations make guessing cheap; too many keep a machine from starting.",
        _OWASP,
    ),
    PolicyRule(
        "kdf-passes",
        "keyslots.argon2.time",
        Range.parse,
        _cost("time", " passes", Argon2i, Argon2id),
        "Few passes make guessing cheap; too many keep a machine from starting.",
        _RFC_9106,
    ),
    PolicyRule(
        "kdf-memory",
        "keyslots.argon2.memory",
        Range.parse,
        _cost("memory", " KiB", Argon2i, Argon2id),
        "Little memory makes guessing cheap; too much exhausts the machine at unlocking.",
        _RFC_9106,
    ),
    PolicyRule(
        "kdf-lanes",
        "keyslots.argon2.cpus",
        Range.parse,
        _cost("cpus", "", Argon2i, Argon2id),
        "Many lanes exhaust the machine at unlocking.",
        _RFC_9106,
    ),
    PolicyRule(
        "kdf-salt",
        "keyslots.salt_bytes",
        Numbers.parse,
        _salt,
        "A short salt lets passphrases be guessed for many volumes at once.",
        "NIST SP 800-132, section 5.1",
    ),
    PolicyRule(
        "af-stripes",
        "keyslots.stripes",
        Numbers.parse,
        _stripes,
        "The splitter has 4000 stripes; another number is a header that nobody makes.",
        "LUKS2 specification 1.1.4, section 3.2.4",
    ),
    PolicyRule(
        "af-hash",
        "keyslots.af_hashes",
        Names.parse,
        _af_hash,
        "The splitter's hash keeps a removed key from being put together again.",
        "LUKS2 specification 1.1.4, section 4.2",
    ),
    PolicyRule(
        "area-exact",
        "keyslots.exact_areas",
        switch,
        _exact_area,
        "An area larger than its key hides data; a smaller one overlaps what comes next.",
        "cryptsetup lib/luks2/luks2_json_format.c LUKS2_find_area_gap",
    ),
    PolicyRule(
        "keyslot-priority",
        "keyslots.priorities",
        Names.parse,
        _priority,
        "A keyslot that is never tried locks its owner out, or waits to be named.",
        _SPEC,
    ),
)
