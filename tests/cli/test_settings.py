"""``config`` and ``volume-key``."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, VERSIONS
from tests.cli.runner import CHEAP, done, key_file, luksmeta, opens, refused
from tests.interop.peers import cryptsetup

UUID = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return builders.file(tmp_path / "volume.img", "luks2", FIRST, SECOND)


def test_label_and_subsystem_are_independent(image: Path) -> None:
    done(luksmeta("config", image, "--label", "one"))
    document = done(luksmeta("config", image, "--subsystem", "two", "--json")).json
    assert (document["label"], document["subsystem"]) == ("one", "two")
    text = cryptsetup.dump(image)
    assert "Label:         \tone" in text
    assert "Subsystem:     \ttwo" in text
    document = done(luksmeta("config", image, "--label", "", "--json")).json
    assert (document["label"], document["subsystem"]) == ("", "two")


@pytest.mark.parametrize("option", ["--label", "--subsystem"])
def test_a_label_has_47_bytes_at_most(image: Path, option: str) -> None:
    done(luksmeta("config", image, option, "x" * 47))
    before = image.read_bytes()
    refused(luksmeta("config", image, option, "x" * 48), 1, str(image), "48 bytes")
    refused(luksmeta("config", image, option, "ü" * 24), 1, str(image), "48 bytes")
    assert image.read_bytes() == before


@pytest.mark.parametrize("version", VERSIONS)
def test_a_uuid_may_be_spelt_in_any_way_and_is_written_in_one(
    tmp_path: Path, version: Version
) -> None:
    image = builders.file(tmp_path / "volume.img", version)
    answer = done(luksmeta("config", image, "--uuid", UUID.upper().replace("-", "")))
    assert answer.out == f"{image}: header updated\n"
    assert cryptsetup.uuid(image) == UUID
    assert opens(image, FIRST)


def test_a_priority_belongs_to_a_keyslot(image: Path) -> None:
    done(luksmeta("config", image, "-S", "1", "--priority", "prefer"))
    assert cryptsetup.dump_json(image)["keyslots"]["1"]["priority"] == 2
    done(luksmeta("config", image, "-S", "1", "--priority", "ignore"))
    refused(luksmeta("unlock", image, stdin=SECOND), 2, "tried 0")
    done(luksmeta("unlock", image, "-S", "1", stdin=SECOND))
    done(luksmeta("config", image, "-S", "1", "--priority", "normal"))
    assert "priority" not in cryptsetup.dump_json(image)["keyslots"]["1"]
    for line in (("-S", "1"), ("--priority", "high"), ()):
        refused(luksmeta("config", image, *line), 1)
    refused(luksmeta("config", image, "-S", "1", "--priority", "highest"), 1, "highest")


def test_all_settings_are_one_write_or_none(image: Path) -> None:
    before = image.read_bytes()
    line = ("config", image, "--label", "new", "--priority", "high")
    refused(luksmeta(*line, "-S", "9"), 1, str(image), "keyslot 9")
    assert image.read_bytes() == before
    seqid = luksmeta("dump", image, "--json").json["seqid"]
    done(luksmeta(*line, "-S", "1", "--subsystem", "s", "--persistent-flags", "no-journal"))
    after = luksmeta("dump", image, "--json").json
    assert after["seqid"] == seqid + 1
    assert (after["label"], after["keyslots"]["1"]["priority"]) == ("new", "high")


def test_the_areas_get_other_sizes(image: Path, tmp_path: Path) -> None:
    line = ("config", image, "--luks2-metadata-size", "32k", "--luks2-keyslots-size", "400k")
    answer = done(luksmeta(*line, "--label", "wide", "--json"))
    assert answer.json["keyslots_area"] == {"offset": 64 << 10, "size": 400 << 10}
    assert answer.json["label"] == "wide"
    text = cryptsetup.dump(image)
    assert "Metadata area: \t32768 [bytes]" in text
    assert "Keyslots area: \t409600 [bytes]" in text
    for secret in (FIRST, SECOND):
        assert cryptsetup.unlocks(image, secret)
        assert opens(image, secret)


def test_a_dry_run_shows_how_keyslots_move(image: Path) -> None:
    before = image.read_bytes()
    line = ("config", image, "--luks2-metadata-size", "32k", "--dry-run", "--json")
    plan = done(luksmeta(*line)).json["plan"]
    assert [step["what"] for step in plan if step["step"] != "barrier"] == [
        "keyslot 0 area",
        "primary header, seqid 5",
        "secondary header, seqid 5",
        "keyslot 0 old area wiped",
        "secondary header, seqid 6",
        "old copy wiped",
        "primary header, seqid 6",
    ]
    assert image.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--luks2-metadata-size", "48k"), ("49152", "16384", "4194304")),
        (("--luks2-keyslots-size", "1M"), ("0x108000", "0x88000")),
        (("--luks2-keyslots-size", "128k"), ("keyslot 1", "131072 bytes", "kill-slot makes room")),
        (("--luks2-keyslots-size", "0"), ("keyslots size 0",)),
    ],
)
def test_sizes_without_room_are_refused(
    options: tuple[str, ...], parts: tuple[str, ...], image: Path
) -> None:
    before = image.read_bytes()
    refused(luksmeta("config", image, *options, "--label", "x"), 1, str(image), *parts)
    assert image.read_bytes() == before


def test_every_flag_of_cryptsetup_is_taken(image: Path) -> None:
    flags = "allow-discards,same-cpu-crypt,submit-from-crypt-cpus,no-journal,"
    flags += "no-read-workqueue,no-write-workqueue,high_priority"
    answer = done(luksmeta("config", image, "--persistent-flags", flags, "--json"))
    assert answer.json["flags"] == flags.split(",")


def test_flags_are_replaced_as_a_whole(image: Path) -> None:
    done(luksmeta("config", image, "--persistent-flags", "allow-discards,no-read-workqueue"))
    assert cryptsetup.dump_json(image)["config"]["flags"] == ["allow-discards", "no-read-workqueue"]
    done(luksmeta("config", image, "--persistent-flags", "same-cpu-crypt"))
    assert cryptsetup.dump_json(image)["config"]["flags"] == ["same-cpu-crypt"]
    done(luksmeta("config", image, "--persistent-flags", ""))
    assert not cryptsetup.dump_json(image)["config"].get("flags")
    refused(luksmeta("config", image, "--persistent-flags", "allow-all"), 1, "'allow-all'")


def test_flags_in_two_options_are_refused_and_none_is_lost(image: Path) -> None:
    before = image.read_bytes()
    for second in ("same-cpu-crypt", ""):
        twice = ("--persistent-flags", "allow-discards", "--persistent-flags", second)
        refused(luksmeta("config", image, *twice), 1, "--persistent-flags is given twice")
    assert image.read_bytes() == before


def test_luks1_has_no_label(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks1")
    before = image.read_bytes()
    values = {"--persistent-flags": "allow-discards", "--luks2-keyslots-size": "1M"}
    for option in ("--label", "--subsystem", *values):
        value = values.get(option, "x")
        refused(luksmeta("config", image, option, value), 1, str(image), "LUKS1")
    refused(luksmeta("config", image, "-S", "0", "--priority", "high"), 1, str(image), "LUKS1")
    assert image.read_bytes() == before


def test_the_volume_key_goes_to_a_private_new_file(image: Path, tmp_path: Path) -> None:
    key, target = key_file(tmp_path), tmp_path / "volume-key"
    answer = done(luksmeta("volume-key", image, "-d", key, "-o", target))
    assert answer.out == f"{target}: volume key of 256 bits\n"
    assert target.read_bytes() == builders.VOLUME_KEY
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert cryptsetup.dump_volume_key(image, FIRST) == builders.VOLUME_KEY
    target.write_bytes(b"another file")
    refused(luksmeta("volume-key", image, "-d", key, "-o", target), 5, str(target))
    assert target.read_bytes() == b"another file"


def test_the_volume_key_is_not_shown_unasked(image: Path, tmp_path: Path) -> None:
    key = key_file(tmp_path)
    text = refused(luksmeta("volume-key", image, "-d", key), 1, str(image), "-q")
    assert builders.VOLUME_KEY.hex() not in text
    answer = done(luksmeta("volume-key", image, "-d", key, "-q"))
    assert answer.out == builders.VOLUME_KEY.hex() + "\n"
    document = done(luksmeta("volume-key", image, "-d", key, "-q", "--json")).json
    assert document == {"key_size": 32, "keyslot": 0, "volume_key": builders.VOLUME_KEY.hex()}
    line = ("volume-key", image, "-d", key, "--json", "-o", tmp_path / "file")
    assert done(luksmeta(*line)).json == {"key_size": 32, "keyslot": 0}


def test_a_flag_counts_once_and_must_be_known(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    line = ("config", image, "--json", "--persistent-flags")
    twice = done(luksmeta(*line, "no-journal,allow-discards,no-journal"))
    assert twice.json["flags"] == ["no-journal", "allow-discards"]
    refused(luksmeta(*line, "sparkle"), 1, str(image), "'sparkle' is none of allow-discards, ")


def test_the_json_of_config_has_all_that_can_be_set(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    change = ("config", image, "-S", "0", "--priority", "prefer", "--note", "mine", "--json")
    document = done(luksmeta(*change)).json
    assert document["keyslots"] == {"0": {"priority": "high", "note": {"purpose": "mine"}}}
    assert document["header_size"] == 16384
    assert set(document["keyslots_area"]) == {"offset", "size"}
    old = builders.file(tmp_path / "old.img", "luks1")
    uuid = "11111111-2222-3333-4444-555555555555"
    document = done(luksmeta("config", old, "--uuid", uuid, "--json")).json
    assert (document["uuid"], document["header_size"]) == (uuid, None)


def test_a_size_is_refused_by_the_number_that_was_given(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    refused(luksmeta("config", image, "--luks2-keyslots-size", "4095"), 1, "keyslots size 4095, ")
    line = ("format", tmp_path / "new", "--size", "32M", "--luks2-keyslots-size", "4095", *CHEAP)
    refused(luksmeta(*line, stdin=b"pw\n"), 1, "keyslots size 4095, ")
