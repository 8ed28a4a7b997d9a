"""``map``, ``unmap``, ``status`` in a real kernel, and cryptsetup on the same mappings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import luksmeta
from tests.corpus import stream
from tests.interop import guest_mapping
from tests.interop.peers import kernel
from tests.interop.peers.process import Tool
from tests.interop.volumes import DIGEST_ITERATIONS, SECRET, cheap, read

_CONTENT = stream("mapped", 50_000)
_UUID = "12345678-1234-4234-8234-123456789abc"


def _boot(folder: Path) -> dict[str, tuple[int, str]]:
    files = {
        "key": SECRET,
        "content": _CONTENT,
        "key32": stream("mapped/key", 32),
        "second.img": bytes(1 << 20),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    kdf, cost = cheap("pbkdf2"), DIGEST_ITERATIONS
    luksmeta.format(
        folder / "luks2.img",
        SECRET,
        size=20 << 20,
        sector_size=4096,
        pbkdf=kdf,
        digest_iterations=cost,
        uuid=_UUID,
    ).close()
    luksmeta.format(
        folder / "first.img", SECRET, type="luks1", size=3 << 20, pbkdf=kdf, digest_iterations=cost
    ).close()
    sent = [folder / name for name in ("key", "content", "key32", "first.img")]
    result = kernel.run(
        "modprobe -a ext4 loop dm-crypt; python guest_mapping.py",
        [folder / "luks2.img", folder / "second.img"],
        [*sent, Path(guest_mapping.__file__)],
        python=sys.prefix,
    )
    assert result.returncode == 0, result.stderr.decode()
    return {step: (status, text) for step, (status, text) in json.loads(result.stdout).items()}


def _check_luks2(answers: dict[str, tuple[int, str]]) -> None:
    name = f":64:logon:cryptsetup:{_UUID}-d0"
    line = f"0 8192 crypt aes-xts-plain64 {name} 0 254:0 32768 2 allow_discards sector_size:4096"
    for step in ("table of ours", "table of theirs", "table"):
        assert answers[step] == (0, f"{line}\n"), step
    assert answers["uuid of ours"][1].strip() == f"CRYPT-LUKS2-{_UUID.replace('-', '')}-ours"
    assert answers["map"] == (0, "/dev/vda: mapped to /dev/mapper/ours\n")
    ours = [line for line in answers["keys"][1].splitlines() if "cryptsetup:" in line]
    assert all(line.split()[1].startswith("IR") for line in ours)  # wiped: dm-crypt has its copy
    status, page = answers["status of ours"]
    assert status == 0
    for text in ("type:    LUKS2", "keysize: 512 bits", "key location: keyring", "/dev/vda"):
        assert text in page
    for step, mapping in (("our status", "ours"), ("status of theirs", "theirs")):
        document = json.loads(answers[step][1])
        assert (document["type"], document["name"]) == ("LUKS2", mapping)
        (segment,) = document["segments"]
        assert segment["flags"] == ["allow_discards"]
        assert (segment["device"], segment["offset"]) == ("/dev/vda", 16 << 20)
        assert (segment["key_location"], segment["key_size"]) == ("keyring", 512)
    for step in ("mkfs", "mount", "umount", "close ours", "open", "unmap theirs"):
        assert answers[step][0] == 0, answers[step]
    for step, expected in (
        ("again", 5), ("other name", 5), ("unmap in use", 5), ("status of nothing", 4),
        ("unmap nothing", 4), ("theirs is gone", 4), ("wrong passphrase", 2),
    ):  # fmt: skip
        assert answers[step][0] == expected, answers[step]
        assert answers[step][1].count("\n") == 1, answers[step]
    assert answers["mappings left"][1].strip() == "No devices found"


def _check_luks1(answers: dict[str, tuple[int, str]]) -> None:
    document = json.loads(answers["map a file"][1])
    assert document["device"] == "/dev/mapper/first"
    assert document["key_location"] == "dm-crypt"
    page = answers["status of a file"][1]
    for text in ("type:    LUKS1", "loop:", "first.img", "mode:    readonly"):
        assert text in page
    for text in ("LUKS1", "loop: /", "first.img", "readonly", "512 bits"):
        assert text in answers["our status of a file"][1]
    ours = answers["our table of a file"][1]
    assert answers["table of a file"][1] == ours.replace("DEVICE", "7:0")
    assert answers["map a file again"][0] == 5
    assert "first.img: is /dev/loop0 already" in answers["map a file again"][1]
    assert answers["close a file"][0] == 0
    assert answers["loop devices left"] == (0, "")


def _check_plain(answers: dict[str, tuple[int, str]]) -> None:
    for step in ("map plain", "unmap plain", "open plain", "unmap plain of theirs"):
        assert answers[step][0] == 0, answers[step]
    assert answers["plain of ours"] == answers["plain of theirs"]
    assert answers["uuid of plain"] == answers["theirs by uuid"] == (0, "CRYPT-PLAIN-p\n")
    assert answers["unmap linear"][0] == 1


def test_cryptsetup_and_we_share_mappings(tmp_path: Path) -> None:
    """One test, so that parallel runs boot once as well."""
    kernel.require()
    answers = _boot(tmp_path)
    _check_luks2(answers)
    _check_luks1(answers)
    _check_plain(answers)
    plain = tmp_path / "plain"
    plain.write_bytes(read(tmp_path / "luks2.img", SECRET))
    Tool("e2fsck", "e2fsprogs").run("-fn", plain)
    assert Tool("debugfs", "e2fsprogs").run("-R", "cat content", plain) == _CONTENT
