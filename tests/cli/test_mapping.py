"""``map``, ``unmap`` and ``status`` without a kernel: what would be told to it, what is refused.

A real kernel is in tests/interop/test_mapping.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from luksmeta.dm import kernel_keys
from tests import builders
from tests.builders import FIRST, SECOND, VOLUME_KEY
from tests.cli import runner
from tests.cli.runner import as_ordinary_user, done, key_file, luksmeta, refused
from tests.corpus import Corpus
from tests.dm.fake_kernel import FakeKernel, has_keyring, install

_UUID = "c0ffee00000040008000000000000001"
_LINE = f"0 128 crypt aes-xts-plain64 {{}} 0 /dev/null {builders.data_offset('luks2') // 512}"
_NAMED = ":32:logon:cryptsetup:c0ffee00-0000-4000-8000-000000000001-d0"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return install(tmp_path / "fake", monkeypatch)


def test_a_luks2_volume_is_mapped_with_its_key_in_the_keyring(
    fake: FakeKernel, tmp_path: Path
) -> None:
    image, key = builders.file(tmp_path / "v", "luks2", FIRST), key_file(tmp_path)
    answer = luksmeta("map", image, "n", "-d", key, "--readonly", "--json")
    where = "keyring" if has_keyring() else "dm-crypt"
    assert answer.json == {"name": "n", "device": "/dev/mapper/n", "key_location": where}
    assert bool(answer.err) != has_keyring()
    create = f"dmsetup create --readonly --uuid CRYPT-LUKS2-{_UUID}-n -- n"
    assert create in fake.calls
    assert fake.calls.index(create) < fake.calls.index("losetup --detach /dev/null")
    if has_keyring():
        assert fake.table == _LINE.format(_NAMED) + "\n"
        assert "cryptsetup:c0ffee00-0000-4000-8000-000000000001-d0" in fake.keys


def test_without_a_keyring_the_key_is_in_the_pipe_and_nowhere_else(
    fake: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, key = builders.file(tmp_path / "v", "luks2", FIRST), key_file(tmp_path)
    text = _LINE.format(VOLUME_KEY.hex()) + "\n"
    done(luksmeta("map", image, "n", "-d", key, "--disable-keyring"))
    assert fake.table == text
    monkeypatch.setattr(kernel_keys, "_CALLS", {})
    answer = luksmeta("map", image, "n", "-d", key)
    assert answer.status == 0
    assert "warning: the kernel's keyring takes no key" in answer.err
    assert fake.table == text
    assert VOLUME_KEY.hex() not in "".join([*fake.calls, answer.out, answer.err])


def test_luks1_and_plain_have_their_own_uuids(fake: FakeKernel, tmp_path: Path) -> None:
    image, key = builders.file(tmp_path / "v", "luks1", FIRST), key_file(tmp_path)
    done(luksmeta("map", image, "n", "-d", key))
    assert f"dmsetup create --uuid CRYPT-LUKS1-{_UUID}-n -- n" in fake.calls
    assert VOLUME_KEY.hex() in fake.table
    raw = key_file(tmp_path, bytes(32), "raw")
    plain = ("--type", "plain", "-c", "aes-xts-plain64", "-s", "256", "-d", raw, "-q")
    done(luksmeta("map", image, "p", *plain, "--offset", "8", "--allow-discards"))
    assert "dmsetup create --uuid CRYPT-PLAIN-p -- p" in fake.calls
    size = image.stat().st_size // 512 - 8
    assert (
        fake.table == f"0 {size} crypt aes-xts-plain64 {'00' * 32} 0 /dev/null 8 1 allow_discards\n"
    )


def test_a_known_signature_in_plain_data_is_not_mapped_unasked(
    fake: FakeKernel, tmp_path: Path
) -> None:
    image, raw = builders.file(tmp_path / "v", "luks1"), key_file(tmp_path, bytes(32), "raw")
    line = ("map", image, "p", "--type", "plain", "-c", "aes-xts-plain64", "-s", "256", "-d", raw)
    refused(luksmeta(*line), 1, str(image), "LUKS header at 0x0", "-q")
    assert not any("create" in call for call in fake.calls)
    for option in ("--dry-run", "--readonly", "-q"):
        done(luksmeta(*line, option))


@pytest.mark.parametrize("is_dry", [False, True])
def test_a_part_of_a_disk_is_mapped_by_the_disk_s_offsets(
    is_dry: bool, fake: FakeKernel, tmp_path: Path
) -> None:
    image, key = builders.file(tmp_path / "v", "luks2", FIRST), key_file(tmp_path)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096) + image.read_bytes())
    line = ("map", f"{disk}#offset=4096", "n", "-d", key, "--disable-keyring")
    start = builders.data_offset("luks2") // 512 + 8
    if is_dry:
        shown = done(luksmeta(*line, "--dry-run")).out
        assert f" 0 {disk} {start}\n" in shown
        assert not fake.calls
    else:
        done(luksmeta(*line))
        assert fake.table == f"0 128 crypt aes-xts-plain64 {VOLUME_KEY.hex()} 0 /dev/null {start}\n"
        assert f"losetup --find --show -- {disk}" in fake.calls


def test_a_file_has_no_loop_device_when_nothing_was_mapped(
    fake: FakeKernel, tmp_path: Path
) -> None:
    image, wrong = builders.file(tmp_path / "v", "luks2", FIRST), key_file(tmp_path, SECOND)
    refused(luksmeta("map", image, "n", "-d", wrong), 2, "no keyslot opens")
    assert not any("losetup" in call for call in fake.calls)
    fake.fail_to("create", "device-mapper: reload ioctl on n failed: Invalid argument\n")
    key = key_file(tmp_path, FIRST, "right")
    refused(luksmeta("map", image, "n", "-d", key), 4, "Invalid argument", "dmesg")
    assert fake.calls[-1] == "losetup --detach /dev/null"


def test_a_dry_run_of_map_needs_neither_root_nor_kernel(tmp_path: Path) -> None:
    image, key = builders.file(tmp_path / "v", "luks2", FIRST), key_file(tmp_path)
    for each in (image, key):
        each.chmod(0o444)
    line = _LINE.format(_NAMED).replace("/dev/null", str(image))
    answer = done(as_ordinary_user("map", image, "n", "-d", key, "--dry-run"))
    assert answer.out.splitlines()[1:] == [line]
    (step,) = done(luksmeta("map", image, "n", "-d", key, "--dry-run", "--json")).json["plan"]
    assert (step["name"], step["uuid"]) == ("n", f"CRYPT-LUKS2-{_UUID}-n")
    assert step["table"][0]["line"] == line


def test_a_name_in_use_and_a_wrong_one_are_refused_before_anything_is_asked(
    fake: FakeKernel, tmp_path: Path
) -> None:
    image = builders.file(tmp_path / "v", "luks2", FIRST)
    refused(luksmeta("map", image, "a/b"), 1, "name 'a/b'")
    assert not fake.calls
    fake.answer("0|L--w|253|4|other", "0 8 zero\n")
    refused(luksmeta("map", image, "n"), 5, "mapping n is there already, 253:4")
    refused(luksmeta("map", image, "n", "--offset", "5"), 1, "--offset is for a volume without")


def test_the_policy_and_the_seal_count_for_map(fake: FakeKernel, tmp_path: Path) -> None:
    image, key = builders.file(tmp_path / "v", "luks2", FIRST), key_file(tmp_path)
    refused(luksmeta("map", image, "n", "-d", key, "--require-seal"), 2, "seal")
    refused(luksmeta("map", image, "n", "-d", key, "--policy", "confidential-vm"), 2, "policy")
    done(luksmeta("seal", image, "-d", key))
    done(luksmeta("map", image, "n", "-d", key, "--require-seal", "--dry-run"))
    assert not any("create" in call for call in fake.calls)


def test_a_detached_header_is_not_mapped_over_itself(fake: FakeKernel, tmp_path: Path) -> None:
    image, key = builders.file(tmp_path / "v", "luks2", FIRST), key_file(tmp_path)
    done(
        luksmeta(
            *("format", tmp_path / "data", "-q", "-d", key, "--size", "1M", *runner.CHEAP),
            *("--header", tmp_path / "head"),
        )
    )
    head = tmp_path / "head"
    refused(luksmeta("map", head, "n", "-d", key), 1, "this is a detached header")
    refused(luksmeta("table", head), 1, "this is a detached header")
    assert not any("create" in call for call in fake.calls)
    done(luksmeta("map", tmp_path / "data", "n", "-d", key, "--header", head))
    assert image.exists()


def test_a_volume_in_reencryption_has_a_table_and_is_not_mapped(
    fake: FakeKernel, tmp_path: Path, corpus: Corpus
) -> None:
    image = corpus("made/l2-reencrypt-midway-none")
    key = key_file(tmp_path, b"correct horse battery staple", "passphrase")
    refused(luksmeta("map", image, "n", "-d", key), 1, "a reencryption is under way")
    assert not any("create" in call for call in fake.calls)
    table = done(luksmeta("table", image, "-d", key, "--show-keys", "--device", "d")).out
    assert len(table.splitlines()) == 2
    (tmp_path / "t").write_text(table)
    shown = done(luksmeta("read", "--table", tmp_path / "t", "--device", f"d={image}")).raw
    assert shown == done(luksmeta("read", image, "-d", key)).raw


def test_status_and_unmap(fake: FakeKernel) -> None:
    refused(luksmeta("status", "n"), 4, "there is no mapping n")
    refused(luksmeta("unmap", "n"), 4, "there is no mapping n")
    table = _LINE.format("00" * 32) + " 1 allow_discards\n"
    fake.answer(f"1|L--r|253|4|CRYPT-LUKS2-{_UUID}-n", table)
    page = done(luksmeta("status", "n")).out
    for text in ("is active and is in use", "LUKS2", "readonly", "256 bits", "allow_discards"):
        assert text in page
    document = done(luksmeta("status", "n", "--json")).json
    assert document["active"]
    assert (document["type"], document["read_only"], document["open_count"]) == ("LUKS2", True, 1)
    assert document["segments"][0]["cipher"] == "aes-xts-plain64"
    answer = luksmeta("unmap", "n", "--dry-run", "--json")
    assert answer.json == {"plan": [{"step": "unmap", "name": "n", "device": "253:4"}]}
    assert "open 1 time" in answer.err
    assert "Nothing was unmapped" in done(luksmeta("unmap", "n", "--dry-run", "--deferred")).out
    assert not any("remove" in call for call in fake.calls)
    assert done(luksmeta("unmap", "n", "--json")).json == {"name": "n", "device": "253:4"}
    assert done(luksmeta("unmap", "n", "--deferred")).out == "n: unmapped\n"
    assert [call for call in fake.calls if "remove" in call] == [
        "dmsetup remove --retry -- n", "dmsetup remove --deferred -- n"
    ]  # fmt: skip
    tagged = "0 8 crypt capi:authenc(hmac(sha256),xts(aes))-random :96:logon:k 0 253:0 0"
    fake.answer("0|L--w|253|4|CRYPT-LUKS2-0-n", f"{tagged} 1 integrity:48:aead\n")
    assert "integrity:48:aead" in done(luksmeta("status", "n")).out
    refused(luksmeta("unmap", "n"), 1, "cryptsetup close removes both")
    fake.answer("0|L--w|253|4|LVM-x", "0 8 zero\n")
    refused(luksmeta("unmap", "n"), 1, "mapping n: is no volume of cryptsetup's or ours")


def test_a_mapping_without_a_table_is_told_and_removed(fake: FakeKernel, tmp_path: Path) -> None:
    """As dmsetup create --notable leaves it."""
    fake.answer(f"0|L--w|253|4|CRYPT-LUKS2-{_UUID}-n", "")
    assert "/dev/mapper/n is inactive: it has no table.\n" in done(luksmeta("status", "n")).out
    document = done(luksmeta("status", "n", "--json")).json
    assert (document["active"], document["segments"]) == (False, [])
    assert done(luksmeta("unmap", "n")).out == "n: unmapped\n"
    image = builders.file(tmp_path / "v", "luks2", FIRST)
    refused(luksmeta("map", image, "n"), 5, "mapping n is there already, 253:4")


@pytest.mark.parametrize("name", ["sp ace", "a,b", "é", "a\\x20b"])
def test_a_name_that_is_not_that_of_the_device_is_refused(
    name: str, fake: FakeKernel, tmp_path: Path
) -> None:
    refused(luksmeta("map", tmp_path / "v", name), 1, "letters, digits and #+-.:=@_ can be in it")
    assert not fake.calls


def test_mapping_needs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    image = builders.file(tmp_path / "v", "luks2", FIRST)
    for line in (("map", image, "n"), ("unmap", "n"), ("status", "n")):
        refused(luksmeta(*line), 2, "needs root")
