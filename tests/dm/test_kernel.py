"""How the kernel is asked: through which programs, with which words, and where the keys are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from luksmeta import SecretBytes, StorageBusyError, StorageError, StoragePermissionError
from luksmeta.dm import block_devices, kernel, kernel_keys, mapping, programs
from luksmeta.dm.programs import KernelError, NoMappingError
from luksmeta.dm.table import parse_table
from tests.dm.fake_kernel import FakeKernel, has_keyring, install

_INFO = "1|L--w|253|4|CRYPT-LUKS2-0-n"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return install(tmp_path / "fake", monkeypatch)


def test_a_table_goes_to_standard_input_alone(fake: FakeKernel) -> None:
    kernel.create("-n", "CRYPT-PLAIN--n", SecretBytes(b"0 8 crypt c 5ec2e7 0 7:0 0\n"))
    assert fake.calls == ["dmsetup create --uuid CRYPT-PLAIN--n -- -n"]
    assert fake.table == "0 8 crypt c 5ec2e7 0 7:0 0\n"
    kernel.create("n", "u", SecretBytes(b"0 8 zero\n"), is_read_only=True)
    assert fake.calls[-1] == "dmsetup create --readonly --uuid u -- n"


def test_a_mapping_is_found_and_removed(fake: FakeKernel) -> None:
    fake.answer("2|L-sr|253|4|CRYPT-LUKS2-0-n|x", "0 8 zero\n")
    found = kernel.find("n")
    assert (found.device, found.open_count, found.uuid) == ("253:4", 2, "CRYPT-LUKS2-0-n|x")
    assert (found.is_read_only, found.is_suspended) == (True, True)
    assert found.table == parse_table("0 8 zero")
    kernel.remove("n")
    kernel.remove("n", is_deferred=True)
    assert fake.calls[-2:] == ["dmsetup remove --retry -- n", "dmsetup remove --deferred -- n"]


def test_a_mapping_without_a_table_has_no_lines(fake: FakeKernel) -> None:
    fake.answer(_INFO, "")
    assert kernel.find("n").table == ()
    with pytest.raises(StorageBusyError, match="mapping n is there already, 253:4"):
        kernel.require_free("n")


def test_a_mapping_of_others_may_have_an_odd_name(fake: FakeKernel) -> None:
    fake.answer(_INFO, "0 8 zero\n")
    assert kernel.find("sp ace").name == "sp ace"
    kernel.remove("sp ace")
    assert fake.calls[-1] == "dmsetup remove --retry -- sp ace"
    with pytest.raises(ValueError, match="'sp ace'"):
        kernel.create("sp ace", "u", SecretBytes(b""))


def test_a_name_that_is_taken_is_refused(fake: FakeKernel) -> None:
    kernel.require_free("n")
    fake.answer(_INFO, "0 8 zero\n")
    with pytest.raises(StorageBusyError, match="mapping n is there already, 253:4"):
        kernel.require_free("n")


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ("Device does not exist.\nCommand failed.\n", NoMappingError, "there is no mapping n"),
        ("Device n not found\nCommand failed.\n", NoMappingError, "there is no mapping n"),
        ("remove ioctl on n failed: Device or resource busy\n", StorageBusyError, "busy"),
        ("/dev/mapper/control: open failed: No such device\n", KernelError, "no device-mapper"),
        ("reload ioctl failed: Invalid argument.\nx", KernelError, "dmsetup: reload ioctl failed"),
        ("", KernelError, "dmsetup: failed"),
    ],
)
def test_what_dmsetup_says_is_an_error_of_one_line(
    said: str, kind: type[StorageError], message: str, fake: FakeKernel
) -> None:
    fake.fail(said)
    with pytest.raises(kind) as error:
        kernel.remove("n")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_status == (5 if kind is StorageBusyError else 4)


def test_without_root_or_without_dmsetup_nothing_is_tried(
    fake: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StoragePermissionError, match="needs root"):
        kernel.require_kernel()
    assert not fake.calls
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    kernel.require_kernel()
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(programs, "_PATH", "/nowhere")
    with pytest.raises(KernelError, match="there is no dmsetup"):
        kernel.require_kernel()


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "name ''"), ("a/b", "'a/b'"), (".", "'.'"), ("..", "'..'"), ("a\nb", "printable"),
     ("a\n", "printable"), ("sp ace", "'sp ace': letters, digits and #+-.:=@_ can be in it"),
     ("é", "letters"), (r"a\x20b", "letters"), ("a,b", "'a,b'"),
     ("x" * 128, "name of 128 bytes, the most are 127"), ("é" * 64, "name of 128 bytes")],
)  # fmt: skip
def test_a_name_that_no_mapping_can_have_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match="name") as error:
        kernel.check_name(name)
    assert message in str(error.value)


def test_a_uuid_that_is_too_long_is_refused(fake: FakeKernel) -> None:
    with pytest.raises(ValueError, match="a UUID of more than 128 bytes"):
        kernel.create("n", "u" * 129, SecretBytes(b"0 8 zero\n"))
    assert not fake.calls


def test_a_file_has_its_loop_device_no_longer_than_needed(fake: FakeKernel, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.touch()
    with block_devices.loop_device(str(image), is_read_only=True) as loop:
        assert loop == "/dev/null"
    listed = f"losetup --list --noheadings --output NAME,RO --associated {image}"
    assert fake.calls == [
        listed,
        f"losetup --find --show --read-only -- {image}",
        "losetup --detach /dev/null",
    ]


def test_a_key_is_in_a_keyring_of_its_own_while_something_is_done() -> None:
    described: list[str] = []

    def look() -> None:
        described.append(Path("/proc/keys").read_text())

    keys = {"cryptsetup:luksmeta-test-d0": SecretBytes(b"k" * 64)}
    if not has_keyring():
        with pytest.raises(OSError, match="not"):
            kernel_keys.with_keyring(keys, look)
        return
    kernel_keys.with_keyring(keys, look)
    assert "cryptsetup:luksmeta-test-d0: 64" in described[0]
    left = [line for line in Path("/proc/keys").read_text().splitlines() if "luksmeta-test" in line]
    assert all(line.split()[1].startswith("IR") for line in left), left  # revoked: wiped


def test_what_fails_beside_the_keyring_is_told() -> None:
    def fail() -> None:
        raise KernelError("told")

    with pytest.raises(KernelError if has_keyring() else OSError, match=r"told|not"):
        kernel_keys.with_keyring({}, fail)


def test_a_machine_whose_key_calls_are_not_known_has_no_keyring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel_keys, "_CALLS", {})
    called: list[Callable[[], None]] = []
    with pytest.raises(OSError, match="are not known"):
        kernel_keys.with_keyring({}, lambda: called.append(lambda: None))
    assert not called


def test_mappings_of_others_are_told_from_volumes(fake: FakeKernel) -> None:
    for uuid, kind in (
        ("CRYPT-LUKS2-0-n", "LUKS2"), ("CRYPT-PLAIN-n", "PLAIN"), ("LVM-abc", ""), ("", ""),
        ("CRYPT-WHAT-n", ""), ("LUKS2-0-n", ""),
    ):  # fmt: skip
        fake.answer(f"0|L--w|253|4|{uuid}", "0 8 zero\n")
        assert mapping.kind_of(kernel.find("n")) == kind


def test_a_segment_is_described() -> None:
    (named, hexed, null, linear) = parse_table(
        "0 8 crypt aes-xts-plain64 :64:logon:cryptsetup:u-d0 3 999:999 16 1 sector_size:4096\n"
        .replace(" 3 ", " 8 ")
        + f"8 8 crypt aes-xts-plain64 {'00' * 32} 0 999:999 0 1 allow_discards\n"
        "16 8 crypt cipher_null-ecb - 0 999:999 0\n24 8 linear 999:999 0\n"
    )  # fmt: skip
    assert mapping.describe_segment(named) == {
        "target": "crypt", "size": 4096, "cipher": "aes-xts-plain64", "key_size": 512,
        "key_location": "keyring", "device": "999:999", "loop": None, "offset": 8192,
        "iv_offset": 8, "sector_size": 4096, "flags": [],
    }  # fmt: skip
    found = mapping.describe_segment(hexed)
    assert (found["key_size"], found["key_location"]) == (256, "dm-crypt")
    assert found["flags"] == ["allow_discards"]
    assert mapping.describe_segment(null)["key_size"] == 0
    assert mapping.describe_segment(linear) == {"target": "linear", "size": 4096}
