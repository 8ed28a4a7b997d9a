"""Tables in a real kernel and in user space: the same tables, the same bytes, reads and writes.

Everything happens in one boot: the kernel runs each table, shows it, writes to it and shows it
again, then leaves its disks for us; we do the same with copies of the disks as they were.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from luksmeta import MemoryStorage, StorageError
from luksmeta.dm.devices import Devices
from luksmeta.dm.mapped_device import MappedDevice
from tests.corpus import stream
from tests.interop.peers import kernel

_SIZE = 1 << 20  # bytes of each disk
_KEY = stream("device-mapper/key", 64).hex()
_KEYS_64 = stream("device-mapper/lmk", 64 * 16).hex()

TABLES = {
    "linear": "0 1000 linear {a} 24\n1000 500 linear {b} 8\n1500 7 linear {a} 0\n",
    "striped": "0 1536 striped 3 8 {a} 0 {b} 128 {a} 1024\n",
    "striped-odd": "0 30 striped 2 5 {b} 3 {a} 7\n",
    "zeroes": "0 9 zero\n9 100 linear {a} 100\n109 3 zero\n",
    "mirror": "0 640 mirror core 2 64 nosync 2 {a} 256 {b} 512 1 handle_errors\n",
    "crypt": f"0 800 crypt aes-xts-plain64 {_KEY} 77 {{a}} 64 1 allow_discards\n",
    "crypt-4096": f"0 800 crypt aes-xts-plain64 {_KEY} 8 {{b}} 64 1 sector_size:4096\n",
    "crypt-large": (
        f"0 800 crypt aes-xts-plain64 {_KEY} 8 {{a}} 1000"
        " 4 same_cpu_crypt sector_size:4096 iv_large_sectors no_read_workqueue\n"
    ),
    "crypt-capi": f"0 64 crypt capi:cbc(aes)-essiv:sha256 {_KEY[:64]} 3 {{b}} 9\n",
    "crypt-null": "0 64 crypt cipher_null-ecb - 0 {b} 100\n",
    "mixed": (
        f"0 64 crypt aes-cbc-essiv:sha256 {_KEY[:64]} 0 {{a}} 9\n"
        "64 8 zero\n"
        f"72 64 crypt serpent-xts-plain64 {_KEY} 64 {{b}} 700\n"
        "136 128 striped 2 32 {a} 1900 {b} 1900\n"
    ),
}
SNAPSHOTS = {  # name: origin, COW disk, sectors before it, chunk size
    "fresh": ("o", "c", 0, 8),
    "small-chunks": ("o", "d", 0, 1),
    "shifted": ("o", "e", 48, 16),
}
_DISKS = "abocdefgh"
_SECTORS = _SIZE // 512
_GUEST = """
set -e
modprobe -a dm-crypt dm-mirror dm-snapshot
show() { echo "$1 $(blockdev --flushbufs /dev/mapper/$2; sha256sum </dev/mapper/$2 | cut -c1-64)"; }
put() {
    dd if=noise of=/dev/mapper/$1 bs=512 skip=$2 seek=$3 count=$4 conv=notrunc,fsync 2>/dev/null
}
"""


@dataclass(frozen=True)
class Put:
    """``count`` sectors of the noise from ``skip`` on, written at ``at``."""

    skip: int
    at: int
    count: int

    @property
    def data(self) -> bytes:
        return _noise()[self.skip * 512 :][: self.count * 512]


def _noise() -> bytes:
    return stream("device-mapper/noise", _SIZE)


def _puts(name: str, end: int, count: int = 6, unit: int = 8) -> list[Put]:
    """The same writes whenever asked; in whole units, for the kernel's page cache reads pages."""
    chosen = random.Random(name)
    units = end // unit
    return [Put(chosen.randrange(1000), chosen.randrange(units) * unit, unit) for _ in range(count)]


def _path(disk: str) -> str:
    return f"/dev/vd{chr(ord('a') + _DISKS.index(disk))}"


def _table(text: str) -> str:
    return text.format(**{disk: _path(disk) for disk in _DISKS})


def _end(table: str) -> int:
    start, length, *_ = table.splitlines()[-1].split()
    return int(start) + int(length)


def _snapshot_table(name: str) -> str:
    origin, cow, before, chunk = SNAPSHOTS[name]
    head = f"0 {before} zero\n" if before else ""
    return _table(f"{head}{before} {_SECTORS - before} snapshot {{{origin}}} {{{cow}}} P {chunk}\n")


_ORIGIN = f"0 {_SECTORS} snapshot-origin {{o}}\n"
_OURS = f"0 {_SECTORS} snapshot {{f}} {{g}} PO 4\n"
_TINY = f"0 {_SECTORS} snapshot {{o}} {{h}} %s 8\n"


def _script() -> str:
    return _GUEST + "\n".join(_steps())


def _steps() -> Iterator[str]:
    for name, text in TABLES.items():
        yield f"dmsetup create t <<'END'\n{_table(text)}END"
        yield f"show {name} t"
        for put in _puts(name, _end(text)):
            yield f"put t {put.skip} {put.at} {put.count}"
        yield f"show {name}-after t\ndmsetup remove --retry t"
    for name in SNAPSHOTS:
        yield f"dmsetup create {name} <<'END'\n{_snapshot_table(name)}END"
    yield f"dmsetup create origin <<'END'\n{_table(_ORIGIN)}END"
    for number in range(60):
        for name in (*SNAPSHOTS, "origin"):
            for put in _puts(f"{name}{number}", _SECTORS, 1):
                yield f"put {name} {put.skip} {put.at} {put.count}"
    for name in (*SNAPSHOTS, "origin"):
        yield f"show {name} {name}"
    yield "dmsetup remove --retry origin"
    for name in SNAPSHOTS:
        yield f"dmsetup remove --retry {name}"
    yield f"dmsetup create ours <<'END'\n{_table(_OURS)}END\nshow ours ours"
    for put in _puts("ours by the kernel", _SECTORS, 40):
        yield f"put ours {put.skip} {put.at} {put.count}"
    yield "show ours-after ours\ndmsetup remove --retry ours"
    yield f"dmsetup create tiny <<'END'\n{_table(_TINY % 'P')}END"
    yield f"dmsetup create origin <<'END'\n{_table(_ORIGIN)}END"
    for number in range(200):
        yield f"put origin {number} {number * 8} 8"
    yield "dmsetup status tiny; dmsetup remove --retry tiny; dmsetup remove --retry origin"


def _ours_before(disks: dict[str, MemoryStorage]) -> bytes:
    """A snapshot that we have made; what it shows."""
    devices = Devices({_path(disk): disks[disk] for disk in "fg"})
    snapshot = MappedDevice(_table(_OURS), devices)
    origin = MappedDevice(f"0 {_SECTORS} snapshot-origin {_path('f')}\n", devices)
    for put in _puts("ours", _SECTORS - 8, 50, unit=3):
        snapshot.write_at(put.at * 512, put.data)
    for put in _puts("our origin", _SECTORS - 8, 50, unit=3):
        origin.write_at(put.at * 512, put.data)
    return snapshot.read_at(0, snapshot.size)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _run_tables(disks: dict[str, MemoryStorage]) -> dict[str, str]:
    """What the kernel does, done by us."""
    seen = {}
    for name, text in TABLES.items():
        devices = Devices({_path(disk): disks[disk] for disk in "ab"})
        with MappedDevice(_table(text), devices) as table:
            seen[name] = _digest(table.read_at(0, table.size))
            for put in _puts(name, _end(text)):
                table.write_at(put.at * 512, put.data)
            seen[f"{name}-after"] = _digest(table.read_at(0, table.size))
    return seen


def _run_snapshots(disks: dict[str, MemoryStorage]) -> dict[str, str]:
    devices = Devices({_path(disk): disks[disk] for disk in "ocde"})
    tables = {name: MappedDevice(_snapshot_table(name), devices) for name in SNAPSHOTS}
    tables["origin"] = MappedDevice(_table(_ORIGIN), devices)
    for number in range(60):
        for name in tables:
            for put in _puts(f"{name}{number}", _SECTORS, 1):
                tables[name].write_at(put.at * 512, put.data)
    return {name: _digest(table.read_at(0, table.size)) for name, table in tables.items()}


def _shown(table: str, disks: dict[str, bytes]) -> bytes:
    """What a table shows of these disks, of which nothing is changed."""
    storages = {_path(name): MemoryStorage(data, writable=False) for name, data in disks.items()}
    with MappedDevice(_table(table), Devices(storages)) as mapped:
        return mapped.read_at(0, mapped.size)


def test_the_kernel_and_we_make_the_same_of_a_table(tmp_path: Path) -> None:
    """One test, so that parallel runs boot once as well."""
    kernel.require()
    disks = {disk: MemoryStorage(stream(f"device-mapper/{disk}", _SIZE)) for disk in "abof"}
    disks |= {disk: MemoryStorage(_SIZE) for disk in "cdeg"}
    disks["h"] = MemoryStorage(32 << 10)
    ours = _ours_before(disks)
    for disk in _DISKS:
        (tmp_path / disk).write_bytes(disks[disk].data)
    (tmp_path / "noise").write_bytes(_noise())
    result = kernel.run(_script(), [tmp_path / disk for disk in _DISKS], [tmp_path / "noise"])
    assert result.returncode == 0, result.stderr.decode()
    *lines, status = result.stdout.decode().splitlines()
    theirs = dict(line.split() for line in lines)
    left = {disk: (tmp_path / disk).read_bytes() for disk in _DISKS}

    assert _run_tables(disks) == {name: theirs[name] for name in _with_after(TABLES)}
    assert [left[disk] for disk in "ab"] == [bytes(disks[disk].data) for disk in "ab"]
    snapshots = _run_snapshots(disks)
    assert snapshots == {name: theirs[name] for name in snapshots}
    before = {**left, "o": bytes(disks["o"].data)}  # the last snapshot's origin went on
    for name in SNAPSHOTS:  # the kernel's exception stores, read by us
        assert _digest(_shown(_snapshot_table(name), before)) == theirs[name]

    assert _digest(ours) == theirs["ours"]  # our exception store, read by the kernel
    expected = bytearray(ours)
    for put in _puts("ours by the kernel", _SECTORS, 40):
        expected[put.at * 512 : (put.at + put.count) * 512] = put.data
    assert _digest(bytes(expected)) == theirs["ours-after"]
    assert _shown(_OURS, left) == bytes(expected)

    assert "Invalid" in status
    with pytest.raises(StorageError, match="marked invalid"):
        _shown(_TINY % "P", left)


def _with_after(names: dict[str, str]) -> list[str]:
    return [each for name in names for each in (name, f"{name}-after")]
