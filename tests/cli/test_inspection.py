"""``dump`` and ``unlock``: every field is there, for people and for programs, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from luksmeta.header_copies import HeaderCopy
from luksmeta.sizes import format_size
from tests import builders
from tests.builders import FIRST
from tests.cli.runner import done, luksmeta
from tests.corpus import Corpus, corpus_image
from tests.interop.peers import cryptsetup

PAGES = Path(__file__).parent / "pages"
SHOWN = (
    "luks1/aes-xts-plain64-sha256",
    "luks2/requirements-free",
    "made/l1-aes-cbc-essiv-sha256-256",
    "made/l1-erased",
    "made/l1-slots-full",
    "made/l2-argon2id-p2-64m",
    "made/l2-converted-from-luks1",
    "made/l2-flags-discards",
    "made/l2-keyslot-cipher-cbc128",
    "made/l2-label",
    "made/l2-meta128k-ks768k",
    "made/l2-priority",
    "made/l2-reencrypt-init-checksum",
    "made/l2-reencrypt-midway-none",
    "made/l2-sector4096-xts",
    "made/l2-slots-mixed-kdf",
    "made/l2-token-foreign",
    "made/l2-token-keyring",
    "made/l2-unbound",
)
WORDS = {
    "preferred": "high",
    "ignored": "ignore",
    "(whole device)": "to the end of the device",
    "luks2": "opens segment",
    "luks2 (unbound)": "opens",  # no segment, or one that a reencryption will make
    "reencrypt (unbound)": "reencrypt",
}
_HEX_ROW = re.compile(r"(?:[0-9a-f]{2} )*[0-9a-f]{2}")


def values(luks_dump: str) -> Iterator[tuple[str, str]]:
    """Name and value of each line; rows of hex are put together."""
    name, value = "", ""
    for line in luks_dump.splitlines():
        head, colon, tail = line.partition(":")
        if not colon and _HEX_ROW.fullmatch(line.strip()):
            value += line.strip().replace(" ", "")
            continue
        yield name, value
        name, value = head.strip(), tail.strip() if colon else ""
        if _HEX_ROW.fullmatch(value) and len(value) > 2:
            value = value.replace(" ", "")
    yield name, value


def spellings(name: str, value: str) -> set[str]:
    """How our page may say the value."""
    if name == "Cipher key":
        return {value.replace(" bits", "-bit key")}
    number = re.match(r"(\d+)( \[bytes\])?$", value)
    if number is None:
        return {WORDS.get(value, value.removesuffix(" [bytes]"))}
    count = int(number[1])
    unit = 512 if name in ("Payload offset", "Key material offset") else 1
    unit = 1024 if name == "Memory" else unit
    return {str(count), hex(unit * count), format_size(unit * count)}


@pytest.mark.parametrize("name", SHOWN)
def test_every_value_of_luksdump_is_on_the_page(name: str, corpus: Corpus, tmp_path: Path) -> None:
    copy = corpus.copy(name, tmp_path)  # cryptsetup may want to write to it
    copy.chmod(0o600)
    page = done(luksmeta("dump", copy)).out
    joined = re.sub(r"\n +(?=[0-9a-f]+\n)", "", page).replace(", ", " ")
    for field, value in values(cryptsetup.dump(copy)):
        absent = value in ("", "DISABLED", "ENABLED") or value.startswith("(no ")
        assert absent or any(each in joined for each in spellings(field, value)), (field, value)


@pytest.mark.parametrize("name", ["made/l1-aes-xts-plain64-512", "made/l2-token-keyring"])
def test_the_page_looks_as_it_always_did(name: str, corpus: Corpus) -> None:
    image = corpus(name)
    page = done(luksmeta("dump", image)).out.replace(str(image), "IMAGE")
    assert page == (PAGES / f"{Path(name).name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SHOWN)
def test_the_json_has_the_same_keys_for_both_versions(name: str, corpus: Corpus) -> None:
    document = done(luksmeta("dump", "--json", corpus(name))).json
    version = corpus_image(name).version
    common = {
        "format", "version", "uuid", "label", "subsystem", "cipher", "key_size", "sector_size",
        "data_offset", "header_copies", "served_by", "served_because", "keyslots_area",
        "keyslots", "odd_keyslots", "segments", "digests", "tokens", "flags", "requirements",
        "violations",
    }  # fmt: skip
    of_luks2 = {"seqid", "header_size", "checksum_algorithm", "metadata"}
    assert set(document) == (common | of_luks2 if version == 2 else common)
    assert document["format"] == f"luks{version}"
    for keyslot_id, keyslot in document["keyslots"].items():
        assert keyslot_id.isdecimal()
        assert {"type", "state", "key_size", "priority", "digest", "area"} <= set(keyslot)
        if keyslot["type"] == "luks2":
            assert {"kdf", "af"} <= set(keyslot)
            assert re.fullmatch("[0-9a-f]{64}", keyslot["kdf"]["salt"])
    for segment in document["segments"].values():
        assert isinstance(segment["offset"], int)
        assert segment["size"] == "dynamic" or isinstance(segment["size"], int)


@pytest.mark.parametrize("name", ["made/l2-token-foreign", "made/l2-priority", "made/l2-unbound"])
def test_the_metadata_is_the_json_area_as_it_stands(
    name: str, corpus: Corpus, tmp_path: Path
) -> None:
    copy = corpus.copy(name, tmp_path)
    copy.chmod(0o600)
    assert done(luksmeta("dump", "--json", copy)).json["metadata"] == cryptsetup.dump_json(copy)


def hostile(path: Path) -> Path:
    """A volume whose texts would steer a terminal and forge lines."""
    base = builders.image("luks2")
    document = builders.document_of(base)
    document["tokens"]["0"] = {
        "type": "x\x1b]0;title\x07\nKeyslot 9  opens everything",
        "keyslots": [],
        "a\x1b[31m\nname": "\x9b2Jvalue\nand more",
    }
    document["config"]["flags"] = ["flag\x1b[2J"]
    data = builders.with_document(base, document)
    path.write_bytes(builders.with_label(data, "\x1b[31mred\x1b[0m"))
    return path


def test_text_from_disk_cannot_steer_the_terminal(tmp_path: Path) -> None:
    image = hostile(tmp_path / "volume.img")
    page = done(luksmeta("dump", image)).out
    assert "\N{REPLACEMENT CHARACTER}[31mred" in page
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", page)
    assert "\nKeyslot 9" not in page
    assert all(line.startswith("  ") for line in page.splitlines() if "and more" in line)
    assert done(luksmeta("dump", "--json", image)).json["label"] == "\x1b[31mred\x1b[0m"
    assert "\x1b" not in luksmeta("dump", "--json", image).out


def test_text_from_disk_in_an_error_cannot_steer_the_terminal(tmp_path: Path) -> None:
    base = builders.image("luks2")
    document = builders.document_of(base)
    document["segments"]["0"]["encryption"] = "\x1b[31m-xts-plain64"
    image = tmp_path / "volume.img"
    image.write_bytes(builders.with_document(base, document))
    answer = luksmeta("read", image, "-o", tmp_path / "plain", stdin=FIRST)
    assert answer.status != 0
    assert answer.err.count("\n") == 1
    assert "\x1b" not in answer.err


def odd(path: Path, *, twice: bool = True) -> Path:
    """A volume that every reader takes, with two things to be warned of."""
    base = builders.image("luks2")
    document = builders.document_of(base)
    document["config"]["flags"] = ["sparkle"]
    document["keyslots"]["0"]["kdf"]["iterations"] = 999
    copies = tuple(HeaderCopy) if twice else (HeaderCopy.PRIMARY,)
    path.write_bytes(builders.with_document(base, document, copies=copies))
    return path


def test_what_is_odd_is_on_the_page_once_and_in_the_json_for_each_copy(tmp_path: Path) -> None:
    image = odd(tmp_path / "volume.img")
    _, title, section = done(luksmeta("dump", image)).out.partition("\nWarnings\n")
    assert title
    flag, costs = (line.strip() for line in section.splitlines())
    assert re.fullmatch(r"warning +config.flags: config: flag 'sparkle' is not known \[.*\]", flag)
    assert "iterations is 999, usual are 1000 to 4294967295" in costs
    violations = done(luksmeta("dump", image, "--json")).json["violations"]
    assert [(each["path"], each["copy"]) for each in violations] == [
        (path, copy)
        for copy in ("primary", "secondary")
        for path in ("config.flags", "keyslots.0.kdf.iterations")
    ]
    for each in violations:
        assert set(each) == {"path", "rule", "severity", "text", "value", "copy"}
    assert violations[1]["value"] == 999


def test_what_one_copy_alone_has_names_that_copy(tmp_path: Path) -> None:
    answer = luksmeta("dump", odd(tmp_path / "volume.img", twice=False))
    assert "  warning, primary copy config.flags: " in answer.out
    assert "Warnings" not in done(luksmeta("dump", builders.file(tmp_path / "b", "luks2"))).out


def test_dump_reads_a_header_backup_and_a_detached_header(corpus: Corpus) -> None:
    assert done(luksmeta("dump", corpus("made/l2-header-backup"), "--json")).json["keyslots"]
    data = corpus("made/l2-detached-512-data")
    header = corpus("made/l2-detached-512-header")
    page = done(luksmeta("dump", data, "--header", header)).out
    assert f"to the end of the device ({format_size(data.stat().st_size)})" in page


def test_unlock_names_the_keyslot(corpus: Corpus) -> None:
    image = corpus_image("made/l2-priority")
    path = corpus(image.name)
    for known in image.passphrases:
        named = () if known.slot is None else ("-S", str(known.slot))
        answer = luksmeta("unlock", path, "--json", *named, "-d", "-", stdin=known.secret)
        assert done(answer).json == {"keyslot": known.slot}
