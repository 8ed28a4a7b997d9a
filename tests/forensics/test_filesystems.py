"""What decrypted bytes are recognised as: real programs' formats, and nothing in noise."""

from __future__ import annotations

from pathlib import Path

import pytest

from luksmeta.forensics.recovery.filesystems import LOOKED_AT, random_steps, recognise
from tests.corpus import stream
from tests.interop.peers.process import Argument, Tool

NOISE = stream("filesystems/noise", LOOKED_AT)
JUDGED = random_steps(NOISE)
EXT4 = Tool("mkfs.ext4", "e2fsprogs")
MKSWAP = Tool("mkswap", "util-linux")
SFDISK = Tool("sfdisk", "fdisk")


@pytest.mark.parametrize(
    ("tool", "arguments", "script", "name"),
    [
        pytest.param(EXT4, ("-q", "-F"), b"", "ext2/3/4 file system", id="ext4"),
        pytest.param(MKSWAP, ("-f",), b"", "swap space", id="swap"),
        pytest.param(SFDISK, ("-q",), b"label: gpt\n", "GPT partition table", id="gpt"),
        pytest.param(SFDISK, ("-q",), b"label: dos\n2048,,L\n", "MBR partition table", id="mbr"),
    ],
)
def test_what_real_programs_make(
    tool: Tool, arguments: tuple[Argument, ...], script: bytes, name: str, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    tool.run(*arguments, image, stdin=script)
    found = recognise(image.read_bytes()[:LOOKED_AT], JUDGED)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("magic", [b"\x53\xef", b"\x55\xaa"], ids=["ext", "boot sector"])
def test_two_bytes_are_not_enough(magic: bytes) -> None:
    data = bytearray(NOISE)
    for at in (510, 1080):
        data[at : at + 2] = magic
    assert recognise(bytes(data), JUDGED) is None


def test_noise_is_nothing_and_clear_sectors_are_something() -> None:
    assert recognise(NOISE, JUDGED) is None
    found = recognise(bytes(2048) + NOISE[2048:], JUDGED)
    assert found is not None
    assert (found.name, found.clear, found.judged) == (None, 4, len(JUDGED))


def test_zeroes_are_not_judged() -> None:
    assert random_steps(bytes(4096) + NOISE[:512]) == (4096,)


def test_what_repeats_itself_is_not_judged() -> None:
    ramp = bytes(range(256))
    assert random_steps(ramp * 32) == ()
    assert random_steps(NOISE[:512] + NOISE[1024:1536] + NOISE[:512]) == (512,)
