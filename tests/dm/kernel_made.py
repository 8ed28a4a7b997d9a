"""How tests/dm/kernel_store.txt was made: ``python -m tests.dm.kernel_made`` makes it again.

The exception store of a snapshot that a Linux kernel has written (6.1, in the virtual machine).
"""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

from tests.interop.peers import kernel
from tests.interop.peers.process import scratch

STORE = Path(__file__).with_name("kernel_store.txt")
SECTORS = 128
COW_SECTORS = 160
ORIGIN_WRITES = tuple(n * 37 % SECTORS for n in range(30))
SNAPSHOT_WRITES = tuple(n * 53 % SECTORS for n in range(40))
TABLE = f"0 {SECTORS} snapshot /dev/vda /dev/vdb P 1\n"
ORIGIN = f"0 {SECTORS} snapshot-origin /dev/vda\n"


def sector(kind: str, number: int) -> bytes:
    """A sector that says what it is."""
    return f"{kind:10}{number:5}\n".encode() * 32


def disk(kind: str, count: int = SECTORS) -> bytes:
    """Such sectors, one after the other."""
    return b"".join(sector(kind, number) for number in range(count))


def _script() -> str:
    """Writes to the snapshot and its origin in turns, a sector each, past the page cache."""
    lines = [
        "set -e; modprobe dm-snapshot",
        f"echo '{TABLE}' | dmsetup create snapshot; echo '{ORIGIN}' | dmsetup create origin",
        "put() { dd if=$1 of=/dev/mapper/$1 bs=512 skip=$2 seek=$2 count=1 conv=fsync,notrunc; }",
    ]
    lines += [f"put origin {number}" for number in ORIGIN_WRITES]
    lines += [f"put snapshot {number}" for number in SNAPSHOT_WRITES]
    return "\n".join([*lines, "dmsetup remove --retry snapshot; dmsetup remove --retry origin"])


def store() -> bytes:
    """The COW device as the kernel has left it."""
    return zlib.decompress(base64.decodebytes(STORE.read_bytes()))


def main() -> None:
    """Boot, and keep what the kernel has left on the COW device."""
    with scratch(
        disk=disk("original"), cow=bytes(COW_SECTORS * 512),
        origin=disk("origin"), snapshot=disk("snapshot"),
    ) as folder:  # fmt: skip
        files = [folder / "origin", folder / "snapshot"]
        kernel.run(_script(), [folder / "disk", folder / "cow"], files).check_returncode()
        STORE.write_bytes(base64.encodebytes(zlib.compress((folder / "cow").read_bytes(), 9)))


if __name__ == "__main__":
    main()
