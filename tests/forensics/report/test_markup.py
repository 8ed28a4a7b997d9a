"""Trees to HTML: text stays text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luksmeta.forensics.report.markup import document, html, number, shown, tag
from tests.forensics.report.samples import EVIL, parsed


def test_children_of_every_kind_come_in_order() -> None:
    inner = (tag("b", str(each)) for each in range(2))
    element = tag("p", "a", None, inner, "z", ["y", None], class_="one two", stroke_width=1.5, x=2)
    assert html(element) == ('<p class="one two" stroke-width="1.5" x="2">a<b>0</b><b>1</b>zy</p>')


def test_an_attribute_that_is_none_is_left_out() -> None:
    assert html(tag("p", class_=None)) == "<p></p>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ä 漢 → …", "plain ä 漢 → …"),
        ("a\nb", "a\nb"),
        ("\x1b[2J", "\\u001b[2J"),
        ("\r\0\x7f\x85", "\\u000d\\u0000\\u007f\\u0085"),
        ("\u202e\u2066\u200f\ufeff", "\\u202e\\u2066\\u200f\\ufeff"),
        ("\u2028\ud800\udc80", "\\u2028\\ud800\\udc80"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_cannot_be_seen_is_shown_as_an_escape(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(st.text(), st.text())
def test_no_text_becomes_markup(text: str, value: str) -> None:
    body = tag("body", tag("p", text, title=value))
    tree = parsed(document(tag("html", tag("head", tag("title", text)), body)))
    (paragraph,) = tree.iter("p")
    assert "".join(paragraph.itertext()) == shown(text)
    assert len(list(tree.iter())) == 5
    assert paragraph.get("title") == shown(value)


def test_markup_in_text_is_seen_as_it_stands() -> None:
    assert "<script" not in html(tag("p", EVIL))


def test_numbers_have_as_few_digits_as_they_need() -> None:
    assert [number(each) for each in (1, 0.5, 12.345, 100, 0)] == ["1", "0.5", "12.35", "100", "0"]
