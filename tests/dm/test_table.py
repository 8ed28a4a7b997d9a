"""Tables as text: what is read, what is refused, and that printing is its inverse."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luksmeta.dm.table import SECTORS_MAX, TableError, TableLine, parse_table, print_table

_WORDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\v\f\r\x85\u2028\u2029\0"),
    min_size=1,
    max_size=8,
)
_TARGETS = st.from_regex(r"[a-z][a-z-]{0,14}", fullmatch=True)
_LINES = st.lists(
    st.tuples(st.integers(1, 1 << 40), _TARGETS, st.lists(_WORDS, max_size=4)),
    min_size=1,
    max_size=6,
)


@given(_LINES)
def test_what_is_printed_is_read_again(
    parts: list[tuple[int, str, list[str]]],
) -> None:
    starts = accumulate((length for length, _, _ in parts), initial=0)
    table = tuple(
        TableLine(start, length, target, tuple(words), number)
        for number, (start, (length, target, words)) in enumerate(
            zip(starts, parts, strict=False), start=1
        )
    )
    assert parse_table(print_table(table)) == table


@pytest.mark.parametrize("word", ["a\nb", "a\r", "\0", "\u2028", "disk\udcff"])
def test_a_word_that_no_line_can_have_is_not_printed(word: str) -> None:
    with pytest.raises(TableError, match="line 1: linear: argument 1 has a line's end") as refusal:
        print_table((TableLine(0, 8, "linear", (word, "0")),))
    assert "--device NAME" in str(refusal.value.hint)


def test_comments_and_empty_lines_are_left_out() -> None:
    table = parse_table("# a table\n\n  0 8 zero  \n\t# more\n8 8 linear /dev/a\\ b 0\n")
    assert [line.target for line in table] == ["zero", "linear"]
    assert table[1].arguments == ("/dev/a b", "0")
    assert [line.number for line in table] == [3, 5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "without a target"),
        ("# nothing\n", "without a target"),
        ("0 8", "line 1: START LENGTH TARGET"),
        ("0 x zero", "line 1: START LENGTH TARGET"),
        ("0 -8 zero", "line 1: START LENGTH TARGET"),
        ("0 ٣ zero", "line 1: START LENGTH TARGET"),
        ("0 99999999999999999999999 zero", "line 1: START LENGTH TARGET"),
        ("vg-lv: 0 8 zero", "without the device's name"),
        ("8 8 zero", "line 1: zero: starts at sector 8, what is before it ends at 0"),
        ("0 8 zero\n\n9 8 error", "line 3: error: starts at sector 9, what is before it ends at 8"),
        ("0 8 zero\n7 8 zero", "starts at sector 7, what is before it ends at 8"),
        ("0 0 zero", f"line 1: zero: 0 sectors, from 1 to {SECTORS_MAX}"),
        (f"0 {SECTORS_MAX + 1} zero", f"{SECTORS_MAX + 1} sectors, from 1 to {SECTORS_MAX}"),
        (f"0 {SECTORS_MAX} zero\n{SECTORS_MAX} 1 zero", "1 sector, from 1 to 0"),
        ("0 8 a-name-of-16-chr", "a target of 16 characters, the most are 15"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(TableError) as refusal:
        parse_table(text)
    assert message in str(refusal.value)
    assert refusal.value.exit_status == 1


def test_the_size_of_a_table_is_bounded() -> None:
    rows = "".join(f"{n} 1 zero\n" for n in range((1 << 16) + 1))
    with pytest.raises(TableError, match="line 65537: target 65537, the most are 65536"):
        parse_table(rows)
    with pytest.raises(TableError, match="a table of 16777217 characters, the most are 16777216"):
        parse_table("#" * ((16 << 20) + 1))


def test_a_backslash_at_the_end_is_one() -> None:
    (line,) = parse_table("0 8 linear a\\\\b \\")
    assert line.arguments == ("a\\b", "\\")


def test_a_key_is_not_in_the_repr_of_a_line() -> None:
    (line,) = parse_table("0 8 crypt aes-xts-plain64 5ec2e7 0 7:0 0")
    assert "5ec2e7" not in repr(line)
    assert "5ec2e7" in str(line)
