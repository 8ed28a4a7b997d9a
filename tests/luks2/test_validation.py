"""Validation: against named defects, real images, cryptsetup's own verdict, and arbitrary JSON."""

from __future__ import annotations

import copy
import hashlib
import json
import struct
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta.errors import MetadataError, Severity
from luksmeta.luks2.json_text import parse_json_area
from luksmeta.luks2.limits import (
    HDR_SIZES,
    JSON_VALUES_MAX,
    KNOWN_REQUIREMENTS,
    OBJECTS_MAX,
    VIOLATIONS_MAX,
)
from luksmeta.luks2.validation import (
    repair_known_faults,
    statements,
    validate,
    warnings,
)
from luksmeta.requirements import is_known
from luksmeta.rules import excerpt
from tests.corpus import Corpus, CorpusImage, corpus_images
from tests.defects.documents import (
    HDR_SIZE,
    Document,
    area_of,
    opal,
    plain,
    reencrypting,
    two_segments,
    write_image,
)
from tests.defects.luks2 import DEFECTS, NEWER, Defect
from tests.defects.oddities import ODDITIES, Oddity
from tests.interop.peers import cryptsetup

_PRIMARY, _SECONDARY = b"LUKS\xba\xbe", b"SKUL\xba\xbe"
_CSUM = slice(448, 512)  # specification 2.1

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _names(severity: Severity) -> set[str]:
    return {each.name for each in statements() if each.severity is severity}


def _id(case: Defect | Oddity | CorpusImage) -> str:
    return case.name


@pytest.mark.parametrize("defect", DEFECTS, ids=_id)
def test_a_defect_is_reported_by_its_rule(defect: Defect) -> None:
    assert defect.rule in {violation.rule for violation in validate(defect.document(), HDR_SIZE)}


def test_every_rule_has_a_defect_that_triggers_it() -> None:
    assert _names(Severity.ERROR) == {defect.rule for defect in DEFECTS}


def test_most_defects_are_reported_once() -> None:
    counts = Counter(len(validate(defect.document(), HDR_SIZE)) for defect in DEFECTS)
    assert counts[1] > 0.9 * len(DEFECTS)
    assert max(counts) == 2


@pytest.mark.parametrize("oddity", ODDITIES, ids=_id)
def test_what_cryptsetup_accepts_breaks_no_rule(oddity: Oddity) -> None:
    assert validate(oddity.document(), HDR_SIZE) == ()


@pytest.mark.parametrize("oddity", ODDITIES, ids=_id)
def test_what_is_odd_is_warned_of_by_its_rules_alone(oddity: Oddity) -> None:
    found = warnings(oddity.document(), HDR_SIZE)
    assert {each.rule for each in found} == set(oddity.rules)
    assert all(each.severity is Severity.WARNING for each in found)


def test_every_warning_has_an_oddity_that_triggers_it() -> None:
    assert _names(Severity.WARNING) == {rule for each in ODDITIES for rule in each.rules}


def test_every_rule_is_stated_once_with_its_source() -> None:
    names = [each.name for each in statements()]
    assert len(names) == len(set(names))
    assert all(each.states.endswith(".") and each.source for each in statements())


def test_the_known_requirements_are_those_that_are_acted_on() -> None:
    assert all(is_known(each) for each in KNOWN_REQUIREMENTS)
    assert not is_known("unheard-of")


@pytest.mark.parametrize("defect", DEFECTS, ids=_id)
def test_a_violation_has_the_value_that_lies_at_its_path(defect: Defect) -> None:
    document = defect.document()
    for violation in validate(document, HDR_SIZE):
        value: Any = document
        for name in violation.path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        assert violation.value == excerpt(value)
        assert len(json.dumps(violation.value)) < 5000


def test_a_segment_encrypted_by_the_drive_breaks_no_rule() -> None:
    assert validate(opal(), HDR_SIZE) == ()


def test_a_violation_says_where_and_both_numbers() -> None:
    document = plain()
    document["keyslots"]["1"]["area"]["size"] = "16777216"
    (violation,) = validate(document, HDR_SIZE)
    assert violation.path == "keyslots.1.area.size"
    assert violation.text == ("keyslot 1: area ends at 0x1028000, keyslots area ends at 0x1000000")


def test_a_keyslot_without_type_is_not_accused_of_anything_else() -> None:
    document = plain()
    document["keyslots"]["0"] = {"key_size": 32, "area": plain()["keyslots"]["1"]["area"]}
    assert [str(each) for each in validate(document, HDR_SIZE)] == [
        "keyslots.0.type: keyslot 0: type is missing"
    ]


def test_all_violations_are_reported_not_the_first() -> None:
    document = plain()
    del document["keyslots"]["0"]["area"]["offset"]
    document["tokens"]["0"]["keyslots"] = ["9"]
    document["config"]["json_size"] = "28672"
    rules = {violation.rule for violation in validate(document, HDR_SIZE)}
    assert rules == {"area-offset", "token-keyslot", "config-json-size-match"}


# Documents that ask for more than they are worth


def test_as_many_objects_as_there_may_be_are_judged_one_by_one() -> None:
    document = plain()
    keyslot = document["keyslots"]["1"]
    document["keyslots"] = {str(n): copy.deepcopy(keyslot) for n in range(OBJECTS_MAX)}
    overlaps = [v for v in validate(document, HDR_SIZE) if v.rule == "area-overlap"]
    assert len(overlaps) == OBJECTS_MAX - 1


def test_too_many_objects_are_one_violation_whatever_is_wrong_with_them() -> None:
    document = plain()
    document["tokens"] = {str(n): None for n in range(10_000)}
    del document["config"]
    assert [str(each) for each in validate(document, HDR_SIZE)] == [
        "tokens: json area: tokens section has 10000 objects, 256 may be"
    ]


_ROOM = max(HDR_SIZES) - 4096
_HALF, _THIRD = JSON_VALUES_MAX // 2 - 20, JSON_VALUES_MAX // 3 - 20
_NAMES = ",".join(f'"{number}"' for number in range(1, 257))


def _objects(count: int, value: str) -> str:
    return ",".join(f'"{number}":{value}' for number in range(count))


# What fills a section, or stands for it; the counts are the highest that are read at all.
_WORST = {
    "values": ("tokens", _objects(380_000, "0")),
    "tokens": ("tokens", _objects(_HALF, "{}")),
    "tokens of long names": ("tokens", ",".join(f'"{n:060}":0' for n in range(60_000))),
    "segments": ("segments", _objects(28_000, '{"type":"linear","offset":"0","size":"512"}')),
    "references": ("digests", _objects(256, f'{{"keyslots":[{_NAMES}],"segments":[]}}')),
    "references of a type": (
        "digests",
        _objects(250, f'{{"type":"x","keyslots":[{_NAMES}],"segments":[]}}'),
    ),
    "members of a kdf": (
        "keyslots",
        f'"0":{{"type":"luks2","kdf":{{"type":"pbkdf2",{_objects(2 * _HALF, "0")}}}}}',
    ),
    "flags": ("segments", f'"0":{{"flags":[{",".join(["1"] * 2 * _HALF)}]}}'),
    "objects in objects": ("extension", _objects(_THIRD, '{"":{}}')),
    "escapes": ("extension", '"":"' + r"\udead" * 690_000 + '"'),
}


@pytest.mark.parametrize("worst", _WORST)
def test_the_worst_area_is_judged_in_little_memory(worst: str) -> None:
    section, members = _WORST[worst]
    parts = dict.fromkeys(("keyslots", "tokens", "segments", "digests", "config"), "{}")
    parts[section] = f"{{{members}}}"
    text = ",".join(f'"{name}":{part}' for name, part in parts.items())
    area = f"{{{text}}}".encode().ljust(_ROOM, b"\0")
    assert len(area) == _ROOM
    tracemalloc.start()
    try:
        violations = validate(repair_known_faults(parse_json_area(area)), max(HDR_SIZES))
        assert 0 < len(violations) <= VIOLATIONS_MAX
    except MetadataError as error:
        assert "at most 131072 are read" in str(error)  # noqa: PT017 - or violations, both will do
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 64 << 20


def test_violations_are_kept_up_to_a_thousand() -> None:
    document = plain()
    document["digests"] = {
        str(n): {**plain()["digests"]["0"], "keyslots": ["9"] * 256} for n in range(8)
    }
    document["keyslots"]["0"]["kdf"].update({str(n): n for n in range(400)})
    rules = Counter(violation.rule for violation in validate(document, HDR_SIZE))
    assert rules["kdf-members"] == 400
    assert rules.total() == 1000
    document["keyslots"]["1"]["kdf"].update({str(n): n for n in range(5000)})
    rules = Counter(violation.rule for violation in validate(document, HDR_SIZE))
    assert rules == {"kdf-members": 1000}


# Documents from nowhere


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(), _JSON, max_size=3), st.integers(0, 1 << 64))
def test_no_document_makes_a_rule_crash(document: dict[str, Any], hdr_size: int) -> None:
    assert validate(document, hdr_size)


def _places(value: Document, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every member, at any depth."""
    for name, inner in value.items():
        yield (*path, name)
        if isinstance(inner, dict):
            yield from _places(inner, (*path, name))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_mutation_of_a_good_document_makes_a_rule_crash(data: st.DataObject) -> None:
    document = data.draw(st.sampled_from((plain, reencrypting, opal, two_segments)))()
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, name = data.draw(st.sampled_from(list(_places(document))))
        target = document
        for parent in parents:
            target = target[parent]
        target[name] = data.draw(_JSON | st.sampled_from(("0", "1", "luks2", "reencrypt", "-1")))
    validate(repair_known_faults(document), HDR_SIZE)
    warnings(repair_known_faults(document), HDR_SIZE)


@pytest.mark.parametrize(
    "number",
    [1 << 64, -(1 << 64), 10**5000, float("nan")],
    ids=["positive", "negative", "beyond_printing", "nan"],
)
def test_numbers_beyond_any_size_are_judged_without_a_crash(number: float) -> None:
    document = plain()
    document["keyslots"]["0"]["key_size"] = number
    assert "keyslot-key-size" in {each.rule for each in validate(document, HDR_SIZE)}


# Old faults


def test_left_over_kdf_members_are_repaired_in_a_new_document() -> None:
    document = plain()
    document["keyslots"]["0"]["kdf"].update(hash="sha256", iterations=1000)
    before = copy.deepcopy(document)
    assert repair_known_faults(document) == plain()
    assert document == before


def test_a_kdf_of_unknown_type_keeps_all_members() -> None:
    document = plain()
    document["keyslots"]["0"]["kdf"] = {"type": "scrypt", "n": 1, "r": 2}
    assert repair_known_faults(document) == document


# Real images


def _copies(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Every header copy with a right checksum: its binary header and its JSON area."""
    with path.open("rb") as image:
        data = image.read(2 * max(HDR_SIZES))
    for magic, offset in ((_PRIMARY, 0), *((_SECONDARY, size) for size in HDR_SIZES)):
        binary = data[offset : offset + 4096]
        if binary[:6] != magic:
            continue
        _, hdr_size = struct.unpack_from(">HQ", binary, 6)
        area = data[offset + 4096 : offset + hdr_size] if hdr_size in HDR_SIZES else b""
        csum_alg = binary[72:104].rstrip(b"\0").decode()
        blank = binary[: _CSUM.start] + bytes(64) + binary[_CSUM.stop :]
        csum = hashlib.new(csum_alg, blank + area).digest()
        if binary[_CSUM].startswith(csum):
            yield binary, area


def _is_good(binary: bytes, area: bytes) -> bool:
    try:
        document = repair_known_faults(parse_json_area(area))
    except MetadataError:
        return False
    return not validate(document, int.from_bytes(binary[8:16], "big"))


_LUKS2 = [each for each in corpus_images() if each.version == 2]


@pytest.mark.parametrize("image", _LUKS2, ids=_id)
def test_the_verdict_on_an_image_is_the_manifests(image: CorpusImage, corpus: Corpus) -> None:
    good = [_is_good(*each) for each in _copies(corpus(image.name))]
    assert any(good) == image.valid


def test_left_over_kdf_members_in_a_real_image_break_a_rule_until_repaired(corpus: Corpus) -> None:
    (_, area), *_ = _copies(corpus("luks2-validation/pbkdf2-leftover-params-0"))
    document = parse_json_area(area)
    hdr_size = len(area) + 4096
    assert {each.rule for each in validate(document, hdr_size)} == {"kdf-members"}
    assert validate(repair_known_faults(document), hdr_size) == ()


# cryptsetup's verdict on the same documents


@pytest.fixture(name="peer_accepts")
def _peer_accepts(tmp_path: Path) -> Callable[[Document], bool]:
    def accepts(document: Document) -> bool:
        image = write_image(tmp_path / "image", area_of(document))
        return cryptsetup.answer("luksDump", image).returncode == 0

    return accepts


@pytest.mark.parametrize(
    "defect", [each for each in DEFECTS if each.peer_accepts != NEWER], ids=_id
)
def test_cryptsetup_refuses_the_same_defects(
    defect: Defect, peer_accepts: Callable[[Document], bool]
) -> None:
    assert peer_accepts(defect.document()) == (defect.peer_accepts is not None)


@pytest.mark.parametrize("oddity", ODDITIES, ids=_id)
def test_cryptsetup_accepts_the_same_oddities(
    oddity: Oddity, peer_accepts: Callable[[Document], bool]
) -> None:
    assert peer_accepts(oddity.document())
