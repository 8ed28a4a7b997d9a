"""The JSON area's bytes: what is taken, what is refused, what is written; cryptsetup agrees."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta.errors import JsonAreaFullError, MetadataError
from luksmeta.luks2.json_text import dump_json, parse_json_area
from luksmeta.luks2.limits import JSON_VALUES_MAX
from luksmeta.model import JsonObject
from tests.defects.documents import area_of, plain, write_image
from tests.interop.peers import cryptsetup

_SIZE = 12288

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=10,
)


def _area(text: bytes) -> bytes:
    return text.ljust(_SIZE, b"\0")


def _with_token_value(value: bytes) -> bytes:
    """A good area in which a member of a token has this text as its value."""
    return _area(area_of(plain()).rstrip(b"\0").replace(b'"it"', value))


def _nested(arrays: int) -> bytes:
    """A number inside this many arrays; the member lies inside three objects."""
    return b"[" * arrays + b"1" + b"]" * arrays


TAKEN = {
    "no_utf8": b'"\xff\xfe"',
    "control_characters": b'"a\x01\nb"',
    "a_lone_surrogate": rb'"\ud800"',
    "a_surrogate_pair": rb'"\ud83d\ude00"',
    "an_escaped_nul": rb'"\u0000"',
    "a_large_integer": b"1" + b"0" * 30,
    "a_float": b"1.50e3",
    "the_deepest_nesting": _nested(28),
}

REFUSED = {
    "nesting_one_deeper": _nested(29),
    "nesting_without_an_end": b"[" * 5000,
    "an_unclosed_string": b'"',
    "two_values": b"1 2",
}

OURS = {  # json-c takes these, no writer makes them
    "nan": b"NaN",
    "an_infinite_float": b"1e999",
    "a_comment": b"1/* one */",
    "an_integer_of_5000_digits": b"1" * 5000,
}


@pytest.mark.parametrize("value", TAKEN.values(), ids=TAKEN)
def test_cryptsetup_and_we_take(value: bytes, tmp_path: Path) -> None:
    area = _with_token_value(value)
    parse_json_area(area)
    assert cryptsetup.answer("luksDump", write_image(tmp_path / "image", area)).returncode == 0


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_cryptsetup_and_we_refuse(value: bytes, tmp_path: Path) -> None:
    area = _with_token_value(value)
    with pytest.raises(MetadataError):
        parse_json_area(area)
    assert cryptsetup.answer("luksDump", write_image(tmp_path / "image", area)).returncode == 1


@pytest.mark.parametrize("value", OURS.values(), ids=OURS)
def test_what_is_no_json_is_refused_though_json_c_takes_it(value: bytes) -> None:
    with pytest.raises(MetadataError, match=r"^json area: "):
        parse_json_area(_with_token_value(value))


@pytest.mark.parametrize(
    ("area", "message"),
    [
        (b"", "starts with b''"),
        (b" {}\0", "starts with b' '"),
        (b"{}", "no zero byte ends the text in 2 bytes"),
        (b"{}\0\0x\0", "text ends at 0x2, other bytes follow at 0x4"),
        (b"{} {}\0", "Extra data"),
        (b"{\0", "Expecting property name"),
    ],
)
def test_an_area_of_another_form_is_refused_with_the_reason(area: bytes, message: str) -> None:
    with pytest.raises(MetadataError) as caught:
        parse_json_area(area)
    assert message in str(caught.value)


def test_bottomless_nesting_is_refused_without_exhausting_the_stack() -> None:
    text = b'{"a":' * 100_000
    with pytest.raises(MetadataError):
        parse_json_area(text + b"\0")
    closed = text + b"1" + b"}" * 100_000
    with pytest.raises(MetadataError, match="nested deeper than 31 levels"):
        parse_json_area(closed + b"\0")


def test_white_space_may_follow_the_object() -> None:
    assert parse_json_area(b"{ } \n\t\0") == {}


def test_of_equal_names_the_last_counts() -> None:
    assert parse_json_area(b'{"a":1,"b":2,"a":3}\0') == {"a": 3, "b": 2}


def test_bytes_that_are_no_utf8_survive_a_rewrite() -> None:
    area = b'{"a":"\xff\xed\xa0\x80 \xc3\xa4"}\0'
    assert dump_json(parse_json_area(area), len(area)) == area


def test_an_escaped_lone_surrogate_becomes_the_replacement_character() -> None:
    text = rb'{"a":"\ud800x","b":"\udcff","c":"\\ud800","d":"\ud83d\ude00"}' + b"\0"
    assert parse_json_area(text) == {
        "a": "\ufffdx",
        "b": "\ufffd",
        "c": r"\ud800",
        "d": "\U0001f600",
    }


def test_text_is_compact_ordered_and_without_escaped_slashes() -> None:
    document: JsonObject = {"z": ["a/b", 1.5, "\u00e4"], "a": MappingProxyType({"k": None})}
    text = '{"z":["a/b",1.5,"\u00e4"],"a":{"k":null}}'.encode()
    assert dump_json(document, 64) == text.ljust(64, b"\0")


@pytest.mark.parametrize(
    "number", ["1E2", "1.10", "-0.0", "1e-400", "0.1000000000000000055511151231257827", "10e+0"]
)
def test_a_number_is_written_as_it_was_spelled(number: str) -> None:
    area = b'{"a":[%b]}\0' % number.encode()
    document = parse_json_area(area)
    assert document == {"a": [float(number)]}
    assert dump_json(document, len(area)) == area
    assert dump_json(copy.deepcopy(document), len(area)) == area


def test_cryptsetup_spells_numbers_as_we_do(tmp_path: Path) -> None:
    area = _with_token_value(b"[1E2,1.10,0.1000000000000000055511151231257827]")
    image = write_image(tmp_path / "image", area)
    cryptsetup.run("config", image, "--label", "rewritten")
    rewritten = image.read_bytes()[4096:][:_SIZE]
    assert rewritten == dump_json(parse_json_area(area), _SIZE)


def test_an_area_of_too_many_values_is_refused_before_it_is_parsed() -> None:
    most = b'{"a":[' + b"0," * (JSON_VALUES_MAX - 2)
    assert parse_json_area(most + b"0]}\0")
    with pytest.raises(MetadataError, match="131073 commas and opening brackets, at most 131072"):
        parse_json_area(most + b"0,\0")


def test_one_zero_byte_must_remain() -> None:
    assert dump_json({"a": 1}, 8) == b'{"a":1}\0'
    with pytest.raises(JsonAreaFullError, match="no room in the JSON area: 8 bytes, 7 fit"):
        dump_json({"a": 1}, 7)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_no_json_text_can_say_is_not_written(value: float | str) -> None:
    with pytest.raises(MetadataError, match="cannot be written"):
        dump_json({"a": value}, 64)


def test_a_value_of_a_foreign_type_is_the_callers_mistake() -> None:
    with pytest.raises(TypeError, match="set is no JSON value"):
        dump_json({"a": {1}}, 64)  # type: ignore[dict-item]  # the mistake


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(_TEXT, _JSON, max_size=4))
def test_a_document_comes_back_as_it_was_written(document: dict[str, object]) -> None:
    area = dump_json(document, 1 << 16)  # type: ignore[arg-type]  # drawn as JSON
    assert parse_json_area(area) == document
    assert list(parse_json_area(area)) == list(document)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_no_bytes_make_the_reader_crash(data: bytes) -> None:
    with contextlib.suppress(MetadataError):
        assert isinstance(parse_json_area(b"{" + data + b"\0"), dict)
