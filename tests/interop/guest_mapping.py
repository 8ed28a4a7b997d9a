"""Runs in the guest of test_mapping: maps volumes by our command line and by cryptsetup, in turns.

Prints one JSON document: what each step answered, by its name.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from luksmeta.cli.root import run

LUKS2, LUKS1, PLAIN = "/dev/vda", "first.img", "/dev/vdb"
PLAIN_OPTIONS = (
    *("--type", "plain", "-c", "aes-cbc-essiv:sha256", "-s", "256", "--offset", "16"),
    *("--skip", "8", "--sector-size", "4096", "--iv-large-sectors"),
)

answers: dict[str, tuple[int, str]] = {}


def ours(name: str, *arguments: str) -> None:
    """A command of ours in this process: it takes seconds to start another one."""
    out = StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        status = run(list(arguments))
    answers[name] = (status, out.getvalue())


def theirs(name: str, *arguments: str) -> None:
    """Any other program."""
    result = subprocess.run(
        arguments, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    answers[name] = (result.returncode, result.stdout)


def map_luks2() -> None:
    """Ours with a file system, closed by cryptsetup; cryptsetup's, unmapped by us."""
    ours("map", "map", LUKS2, "ours", "-d", "key", "--allow-discards")
    theirs("status of ours", "cryptsetup", "status", "ours")
    ours("our status", "status", "ours", "--json")
    theirs("table of ours", "dmsetup", "table", "ours")
    theirs("uuid of ours", "dmsetup", "info", "-c", "--noheadings", "-o", "uuid", "ours")
    theirs("keys", "cat", "/proc/keys")
    theirs("mkfs", "mkfs.ext4", "-q", "/dev/mapper/ours")
    theirs("mount", "mount", "/dev/mapper/ours", "/mnt")
    Path("/mnt/content").write_bytes(Path("content").read_bytes())
    ours("again", "map", LUKS2, "ours", "-d", "key")
    ours("other name", "map", LUKS2, "other", "-d", "key")
    ours("unmap in use", "unmap", "ours")
    theirs("umount", "umount", "/mnt")
    theirs("close ours", "cryptsetup", "close", "ours")
    ours("status of nothing", "status", "ours")
    ours("unmap nothing", "unmap", "ours")

    theirs(
        "open", *("cryptsetup", "open", "--allow-discards", "--key-file", "key", LUKS2, "theirs")
    )
    theirs("table of theirs", "dmsetup", "table", "theirs")
    ours("table", "table", LUKS2, "--keyring", "--allow-discards")
    ours("status of theirs", "status", "theirs", "--json")
    ours("unmap theirs", "unmap", "theirs")
    theirs("theirs is gone", "cryptsetup", "status", "theirs")
    ours("wrong passphrase", "map", LUKS2, "ours", "-d", "content")
    theirs("mappings left", "dmsetup", "ls")


def map_luks1() -> None:
    """A file, read-only, through a loop device that goes with the mapping."""
    ours("map a file", "map", LUKS1, "first", "-d", "key", "--readonly", "--json")
    theirs("status of a file", "cryptsetup", "status", "first")
    ours("our status of a file", "status", "first")
    theirs("table of a file", "dmsetup", "table", "--showkeys", "first")
    ours("our table of a file", "table", LUKS1, "-d", "key", "--show-keys", "--device", "DEVICE")
    ours("map a file again", "map", LUKS1, "again", "-d", "key")
    theirs("close a file", "cryptsetup", "close", "first")
    theirs("loop devices left", "losetup", "-a")


def map_plain() -> None:
    """The same table as cryptsetup's, under the same UUID."""
    ours("map plain", "map", PLAIN, "p", "-d", "key32", *PLAIN_OPTIONS)
    theirs("plain of ours", "dmsetup", "table", "--showkeys", "p")
    theirs("uuid of plain", "dmsetup", "info", "-c", "--noheadings", "-o", "uuid", "p")
    ours("unmap plain", "unmap", "p")
    theirs("open plain", "cryptsetup", "open", "-q", "-d", "key32", *PLAIN_OPTIONS, PLAIN, "p")
    theirs("plain of theirs", "dmsetup", "table", "--showkeys", "p")
    theirs("theirs by uuid", "dmsetup", "info", "-c", "--noheadings", "-o", "uuid", "p")
    ours("unmap plain of theirs", "unmap", "p", "--deferred")
    theirs("create linear", "dmsetup", "create", "lin", "--table", f"0 8 linear {PLAIN} 0")
    ours("unmap linear", "unmap", "lin")


def main() -> None:
    """Every step, then the document."""
    map_luks2()
    map_luks1()
    map_plain()
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
