"""The documents in spec/ name what is there: clauses, functions, tests, rules, offsets, sizes."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest
from construct import Struct

from luksmeta.extents import align_up
from luksmeta.formatting import DATA_ALIGNMENT, LUKS2_HEADER_SIZE
from luksmeta.luks1.partition_header import (
    KEYSLOT,
    KEYSLOT_COUNT,
    PARTITION_HEADER,
    area_offset,
    area_size,
    areas_end,
)
from luksmeta.luks1.validation import RULES as LUKS1_RULES
from luksmeta.luks2.binary_header import BINARY_HEADER
from luksmeta.luks2.header_copy import statements as copy_statements
from luksmeta.luks2.limits import AREA_ALIGNMENT, HDR_SIZES
from luksmeta.luks2.validation import statements as document_statements
from luksmeta.plain import DEFAULTS, Defaults
from luksmeta.trust.rules import RULES as POLICY_RULES
from tests.corpus import PROJECT

SPEC = PROJECT / "spec"
DOCUMENTS = (
    "luks1.md",
    "luks2.md",
    "sector-encryption.md",
    "headerless.md",
    "header-trust.md",
    "forensics.md",
    "access.md",
    "device-mapper.md",
    "images.md",
)
_CLAUSE = re.compile(r"^\*\*(L\d\.\d+\.\d+)\*\* ", re.MULTILINE)
_CLAUSE_NAMED = re.compile(r"\bL\d\.\d+\.\d+\b")
_CODE = re.compile(r"`([^`\n]+)`")
_PLACE = re.compile(r"(?P<path>(?:luksmeta|tests|spec)/[\w./-]*)(?:::(?P<name>[\w.]+))?")

every_document = pytest.mark.parametrize("document", DOCUMENTS)


@cache
def text(document: str) -> str:
    return (SPEC / document).read_text(encoding="utf-8")


def clauses(document: str) -> list[str]:
    return _CLAUSE.findall(text(document))


def rows(part: str) -> list[list[str]]:
    """The cells of all table rows in a part of a document, heads and rules left out."""
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not set("".join(row)) <= set("- ")]


def table_of(document: str, clause: str) -> list[list[str]]:
    """The rows of the table in a clause, without the head."""
    part = text(document).partition(f"**{clause}** ")[2]
    return rows(_CLAUSE.split(part)[0])[1:]


def map_rows(document: str) -> list[list[str]]:
    return rows(re.split(r"^## L\d\.\d+ The map$", text(document), flags=re.MULTILINE)[1])[1:]


def mapped(document: str) -> list[str]:
    """The clauses that the map holds; "L1.2.1 to L1.2.3" are three."""
    found = []
    for row in map_rows(document):
        for part in row[0].split(", "):
            first, _, last = part.partition(" to ")
            section, number = first.rsplit(".", 1)
            end = last.rsplit(".", 1)[1] if last else number
            found += [f"{section}.{n}" for n in range(int(number), int(end) + 1)]
    return found


@cache
def names_in(path: Path) -> frozenset[str]:
    """The functions, classes, methods and constants that a module defines."""
    found: set[str] = set()

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            match node:
                case ast.FunctionDef(name=name):
                    found.add(prefix + name)
                case ast.ClassDef(name=name, body=inner):
                    found.add(prefix + name)
                    visit(inner, f"{prefix}{name}.")
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name))
                ):
                    found.add(prefix + name)
                case ast.If(body=inner, orelse=other):  # one system's own functions
                    visit([*inner, *other], prefix)

    visit(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return frozenset(found)


def layout_rows(layout: Struct) -> dict[str, tuple[int, int]]:
    """Offset and size of every field that has a name."""
    at, found = 0, {}
    for field in layout.subcons:
        if field.name:
            found[field.name] = (at, field.sizeof())
        at += field.sizeof()
    return found


# --- the map -----------------------------------------------------------------------------------


@pytest.mark.parametrize("document", ["README.md", *DOCUMENTS])
def test_every_place_that_a_document_names_is_there(document: str) -> None:
    missing = []
    for code in _CODE.findall(text(document)):
        match = _PLACE.fullmatch(code)
        if match is None:
            continue
        path = PROJECT / match["path"]
        if not path.exists() or (match["name"] and match["name"] not in names_in(path)):
            missing.append(code)
    assert not missing


@every_document
def test_clauses_are_numbered_in_order(document: str) -> None:
    numbers = [tuple(map(int, clause[1:].split("."))) for clause in clauses(document)]
    assert [section for _, section, _ in numbers] == sorted(section for _, section, _ in numbers)
    for section, group in groupby(numbers, key=lambda number: number[1]):
        last = [number[2] for number in group]
        assert last == list(range(1, len(last) + 1)), section


@every_document
def test_every_clause_is_in_the_map_once(document: str) -> None:
    assert Counter(mapped(document)) == Counter(clauses(document))


@every_document
def test_every_row_of_the_map_names_a_module_and_a_test(document: str) -> None:
    for clause, code, test in map_rows(document):
        assert "`luksmeta/" in code, clause
        assert "`tests/" in test, clause


def test_every_clause_that_is_referred_to_exists() -> None:
    known = {clause for document in DOCUMENTS for clause in clauses(document)}
    for document in ("README.md", *DOCUMENTS):
        assert set(_CLAUSE_NAMED.findall(text(document))) <= known


# --- what the documents repeat of the code -------------------------------------------------------


def test_every_validation_rule_is_described_and_no_other() -> None:
    described = text("luks2.md").split("## L2.5 ")[1].split("## L2.6 ")[0]
    known = {each.name for each in document_statements()}
    assert known <= set(_CODE.findall(described))
    in_tables = {
        name
        for row in rows(described)
        if row[0] != "member" and len(row) > 2
        for name in _CODE.findall(row[2])
    }
    in_brackets = {
        name
        for names in re.findall(r"\((`[a-z-]+`(?:,\s`[a-z-]+`)*)\)", described)
        for name in _CODE.findall(names)
    }
    assert in_tables | in_brackets <= known


def test_every_rule_about_the_bytes_of_a_copy_is_described() -> None:
    described = text("luks2.md").split("## L2.3 ")[1].split("## L2.5 ")[0]
    assert {each.name for each in copy_statements()} <= set(_CODE.findall(described))


def test_every_rule_of_luks1_is_described() -> None:
    described = text("luks1.md").split("## L1.3 ")[1].split("## L1.4 ")[0]
    assert {each.name for each in LUKS1_RULES} <= set(_CODE.findall(described))


def test_every_rule_of_a_policy_is_described() -> None:
    described = [
        (row[0].strip("`"), row[1].strip("`")) for row in table_of("header-trust.md", "L5.2.1")
    ]
    assert described == [(rule.name, rule.key or "(always)") for rule in POLICY_RULES]


@pytest.mark.parametrize(
    ("document", "clause", "layout"),
    [
        ("luks1.md", "L1.2.1", PARTITION_HEADER),
        ("luks1.md", "L1.2.2", KEYSLOT),
        ("luks2.md", "L2.2.1", BINARY_HEADER),
    ],
)
def test_every_field_lies_where_its_table_says(document: str, clause: str, layout: Struct) -> None:
    stated = [(int(row[0]), row[1].strip("`"), int(row[2])) for row in table_of(document, clause)]
    fields = {name: (offset, size) for offset, name, size in stated if name != "padding"}
    assert fields == layout_rows(layout)
    assert [offset + size for offset, _, size in stated] == [
        *(offset for offset, _, _ in stated[1:]),
        layout.sizeof(),
    ]


def test_the_geometry_of_luks1_is_that_of_new_headers() -> None:
    for row in table_of("luks1.md", "L1.1.5"):
        key_size, *stated = map(int, row)
        size, end = area_size(key_size), areas_end(key_size)
        offsets = [area_offset(number, key_size) // 512 for number in range(KEYSLOT_COUNT)]
        assert stated == [size, size // 512, *offsets, end, align_up(end, DATA_ALIGNMENT)]


def test_the_area_sizes_of_luks2_are_those_of_new_keyslots() -> None:
    keyslots_size = LUKS2_HEADER_SIZE - 2 * HDR_SIZES[0]
    for row in table_of("luks2.md", "L2.1.4"):
        key_size, *stated = map(int, row)
        area = align_up(key_size * 4000, AREA_ALIGNMENT)
        assert stated == [area_size(key_size), area, keyslots_size // area]


def test_the_defaults_without_a_header_are_those_of_the_table() -> None:
    stated = {
        name.strip("`"): Defaults(cipher.strip("`"), int(bits) // 8, hash)
        for name, cipher, bits, hash in table_of("headerless.md", "L4.2.6")
    }
    assert stated == DEFAULTS


@pytest.mark.parametrize(
    "document",
    [each for each in DOCUMENTS if (SPEC / "vectors" / each.replace(".md", ".json")).exists()],
)
def test_the_worked_example_is_the_vector(document: str) -> None:
    """Every long hex value of a document stands in its vector."""
    vector = (SPEC / "vectors" / document.replace(".md", ".json")).read_text(encoding="utf-8")
    values = [code for code in _CODE.findall(text(document)) if re.fullmatch("[0-9a-f]{24,}", code)]
    assert len(values) >= 7
    assert [value for value in values if value not in vector] == []
