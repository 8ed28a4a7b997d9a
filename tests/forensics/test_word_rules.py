"""Rules for words: hashcat's own answers, a table of truths, and what is refused by its line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luksmeta.forensics.guessing import word_functions
from luksmeta.forensics.guessing.rules import WORD_MAX, RuleError, load_rules, parse
from luksmeta.forensics.guessing.word_functions import FUNCTIONS
from tests.interop.peers import hashcat


def made(rule: bytes, word: bytes) -> bytes:
    (parsed,) = parse(rule)
    return parsed.apply(word)


@pytest.mark.parametrize(
    ("rule", "result"),
    [  # https://hashcat.net/wiki/doku.php?id=rule_based_attack, of p@ssW0rd
        (b":", b"p@ssW0rd"),
        (b"l", b"p@ssw0rd"),
        (b"u", b"P@SSW0RD"),
        (b"c", b"P@ssw0rd"),
        (b"C", b"p@SSW0RD"),
        (b"t", b"P@SSw0RD"),
        (b"T3", b"p@sSW0rd"),
        (b"r", b"dr0Wss@p"),
        (b"d", b"p@ssW0rdp@ssW0rd"),
        (b"p2", b"p@ssW0rdp@ssW0rdp@ssW0rd"),
        (b"f", b"p@ssW0rddr0Wss@p"),
        (b"{", b"@ssW0rdp"),
        (b"}", b"dp@ssW0r"),
        (b"$1", b"p@ssW0rd1"),
        (b"$1$2", b"p@ssW0rd12"),
        (b"^2^1", b"12p@ssW0rd"),
        (b"[", b"@ssW0rd"),
        (b"]", b"p@ssW0r"),
        (b"D3", b"p@sW0rd"),
        (b"x04", b"p@ss"),
        (b"O12", b"psW0rd"),
        (b"i4!", b"p@ss!W0rd"),
        (b"o3$", b"p@s$W0rd"),
        (b"'6", b"p@ssW0"),
        (b"ss$", b"p@$$W0rd"),
        (b"@s", b"p@W0rd"),
        (b"z2", b"ppp@ssW0rd"),
        (b"Z2", b"p@ssW0rddd"),
        (b"q", b"pp@@ssssWW00rrdd"),
        (b"k", b"@pssW0rd"),
        (b"K", b"p@ssW0dr"),
        (b"*34", b"p@sWs0rd"),
        (b"L2", b"p@\xe6sW0rd"),
        (b"R2", b"p@9sW0rd"),
        (b"+2", b"p@tsW0rd"),
        (b"-1", b"p?ssW0rd"),
        (b".1", b"psssW0rd"),
        (b",1", b"ppssW0rd"),
        (b"y2", b"p@p@ssW0rd"),
        (b"Y2", b"p@ssW0rdrd"),
        (b"E", b"P@ssw0rd"),
        (b"e@", b"P@Ssw0rd"),
        (b"$ $x", b"p@ssW0rd x"),
        (b"c $1 $9", b"P@ssw0rd19"),
    ],
)
def test_rules_do_what_is_documented(rule: bytes, result: bytes) -> None:
    assert made(rule, b"p@ssW0rd") == result


WORDS = (b"a", b"ab", b"Pass Word", b"hello-World 12", b"zzZ9 9zz", b"-x-y--", b"x" * 100)


def random_rules() -> list[bytes]:
    """Each function with arguments within and outside the words, then three of them at a time."""
    chosen = random.Random(20)
    single = []
    for name, (kinds, _) in FUNCTIONS.items():
        for _ in range(8 if kinds else 1):
            arguments = [chosen.choice("01234589ABZ" if k == "N" else "abAZ- 9$zx") for k in kinds]
            single.append(name + "".join(arguments))
    together = [" ".join(chosen.choice(single) for _ in range(3)) for _ in range(200)]
    return [rule.encode() for rule in (*single, *together)]


@pytest.mark.parametrize("word", WORDS)
def test_rules_make_what_hashcat_makes_of_them(tmp_path: Path, word: bytes) -> None:
    lines = random_rules()
    theirs = hashcat.made(tmp_path, word, lines)
    assert theirs == [rule.apply(word) for rule in parse(b"\n".join(lines))]


@given(st.binary(max_size=30), st.sampled_from(["tt", "rr", "kk", "{}", "}{", "KK", "*01*10"]))
def test_a_rule_is_undone_by_its_inverse(word: bytes, rule: str) -> None:
    assert made(rule.encode(), word) == word


@given(st.binary(max_size=20), st.integers(33, 126))
def test_what_is_added_can_be_removed(word: bytes, character: int) -> None:
    added = bytes([character])
    assert made(b"$" + added + b"]", word) == word
    assert made(b"^" + added + b"[", word) == word
    assert made(b"i0" + added + b"D0", word) == word


@given(st.binary(max_size=40), st.lists(st.sampled_from("dfqpZ"), max_size=40))
def test_no_rule_makes_a_word_grow_without_end(word: bytes, names: list[str]) -> None:
    rule = "".join(name + "9" * len(FUNCTIONS[name][0]) for name in names)
    assert len(made(rule.encode() or b":", word)) <= WORD_MAX


def test_comments_and_empty_lines_are_no_rules() -> None:
    parsed = list(parse(b"# a comment\n\n  \nl\r\n: \n$#\n"))
    assert [(rule.line, rule.text) for rule in parsed] == [(4, "l"), (5, ": "), (6, "$#")]
    assert parsed[2].apply(b"a") == b"a#"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"l\nu M\n", "line 2: function 'M' is not known here"),
        (b"<5\n", "line 1: function '<' is not known here"),
        (b"\n\n$", "line 3: function '$' needs 1 characters"),
        (b"sa", "line 1: function 's' needs 2 characters"),
        (b"T!", "line 1: '!' is no position, 0 to 9 and A to Z are"),
        (b"ix!", "line 1: 'x' is no position, 0 to 9 and A to Z are"),
        (b"# nothing\n", "no rule in it"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_line(
    tmp_path: Path, content: bytes, text: str
) -> None:
    path = tmp_path / "rules"
    path.write_bytes(content)
    with pytest.raises(RuleError) as caught:
        load_rules(str(path))
    assert str(caught.value) == f"{path}: {text}"


def test_the_module_says_which_functions_it_knows() -> None:
    listed = (word_functions.__doc__ or "").split("``")[1].split()
    assert [each[0] for each in listed] == list(FUNCTIONS)
    assert all(len(each) == 1 + len(FUNCTIONS[each[0]][0]) for each in listed)
