"""LUKS1 <-> LUKS2: in which order it is written, that no crash hurts, and what is refused."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import luksmeta
from luksmeta import (
    HeaderError,
    KeyslotsAreaFullError,
    MemoryStorage,
    NotLuksError,
    RequirementError,
    StorageBusyError,
    StorageError,
    UnsupportedError,
    VersionError,
    backup,
    convert,
    repair,
)
from luksmeta.convert import Conversion
from luksmeta.format_options import Version
from luksmeta.luks1.header import Luks1Header
from luksmeta.new_volume import FormatKeywords
from luksmeta.secret import BytesLike
from luksmeta.write_plan import Fill, Write, WritePlan
from tests.builders import KDF, document_of, key_behind, with_document
from tests.crash.storages import LyingStorage
from tests.disk_states import SECTOR, states, writes_without_barrier
from tests.storages import FailingStorage

KEY = bytes(range(16))
CROWDED = (32 << 10) + 8 * (64 << 10)
"""The smallest data offset of a LUKS1 volume with this key that LUKS2 headers fit before."""
ROOMY = CROWDED + 2 * (64 << 10)
OTHER: dict[Version, Version] = {"luks1": "luks2", "luks2": "luks1"}


def passphrase(keyslot: int) -> bytes:
    return b"passphrase %d" % keyslot


@cache
def volume(version: Version, keyslots: tuple[int, ...], data_offset: int = CROWDED) -> bytes:
    storage = MemoryStorage(data_offset + 4096)
    options: FormatKeywords = {"type": version, "keyslot": keyslots[0], "data_offset": data_offset}
    fill(storage, keyslots, options)
    return bytes(storage.data)


def fill(storage: MemoryStorage, keyslots: tuple[int, ...], options: FormatKeywords) -> None:
    """A volume in ``storage`` with these keyslots and some data."""
    whole: FormatKeywords = {
        "cipher": "aes-cbc-essiv:sha256",
        "pbkdf": KDF,
        "digest_iterations": 1000,
        "sector_size": 512,
        **options,
    }
    with (
        luksmeta.format(storage, passphrase(keyslots[0]), volume_key=KEY, **whole) as made,
        made.unlock(volume_key=KEY) as unlocked,
        unlocked.open(writable=True) as data,
    ):
        for keyslot in keyslots[1:]:
            unlocked.add_keyslot(passphrase(keyslot), keyslot=keyslot, pbkdf=KDF)
        data.write(b"precious" * 512)


def prepared(data: bytes, version: Version) -> Conversion:
    with luksmeta.open(MemoryStorage(data)) as opened:
        return convert.prepare(opened, version)


def converted(data: bytes, version: Version) -> bytes:
    storage = MemoryStorage(data)
    with luksmeta.open(storage, writable=True) as opened:
        opened.apply(list(convert.prepare(opened, version).changes))
    return bytes(storage.data)


def plans(conversion: Conversion) -> list[WritePlan]:
    return [change.plan for change in conversion.changes]


def opens(data: bytes, keyslots: tuple[int, ...]) -> bool:
    """Whether every keyslot gives the volume key to its passphrase, under its id."""
    with luksmeta.open(MemoryStorage(data)) as opened:
        return all(key_behind(opened, passphrase(each), each) == KEY for each in keyslots)


def payload(data: bytes, keyslot: int) -> bytes:
    with (
        luksmeta.open(MemoryStorage(data)) as opened,
        opened.unlock(passphrase(keyslot)) as unlocked,
        unlocked.open() as stream,
    ):
        return stream.readall()


VOLUMES = [  # the keyslots in use, and the data offset
    ((0,), CROWDED),
    ((0, 6), CROWDED),
    ((3, 7), CROWDED),
    ((0, 1, 2, 4, 7), CROWDED),
    ((0, 1, 2, 3, 4, 5, 6, 7), ROOMY),
]
on_volumes = pytest.mark.parametrize(("keyslots", "data_offset"), VOLUMES)
on_versions = pytest.mark.parametrize("version", list(OTHER))


@on_versions
@on_volumes
def test_keyslots_keep_ids_and_passphrases_and_the_data_stays(
    version: Version, keyslots: tuple[int, ...], data_offset: int
) -> None:
    before = volume(version, keyslots, data_offset)
    after = converted(before, OTHER[version])
    with luksmeta.open(MemoryStorage(after)) as opened:
        assert f"luks{opened.version}" == OTHER[version]
        assert sorted(opened.keyslots) == list(keyslots)
        assert all(copy.problem is None for copy in opened.header.copies)
        assert opened.uuid == luksmeta.open(MemoryStorage(before)).uuid
    assert opens(after, keyslots)
    assert payload(after, keyslots[0]) == b"precious" * 512
    assert after[data_offset:] == before[data_offset:]
    assert len(after) == len(before)


@on_versions
@on_volumes
def test_a_crash_at_any_moment_leaves_every_passphrase(
    version: Version, keyslots: tuple[int, ...], data_offset: int
) -> None:
    before = volume(version, keyslots, data_offset)
    conversion = prepared(before, OTHER[version])
    assert not conversion.needs_backup
    steps = plans(conversion)
    assert [left for plan in steps for left in writes_without_barrier(plan)] == []
    seen = set()
    ends = tuple(sorted({keyslots[0], keyslots[-1]}))
    for name, state in states(before, steps):
        if name.endswith("done") or len(keyslots) < 3:  # torn writes are the same with more of them
            assert opens(state, ends), name
            seen.add(state[7])
    assert seen == {1, 2}


@on_versions
def test_a_write_torn_into_any_sectors_leaves_every_passphrase(version: Version) -> None:
    """A disk may take any of the sectors of a write, or of its blocks of 4096 bytes."""
    before = volume(version, (0, 1))
    for name, state in scattered(before, plans(prepared(before, OTHER[version]))):
        assert opens(state, (0, 1)), name


def scattered(before: bytes, plans: list[WritePlan]) -> Iterator[tuple[str, bytes]]:
    """Within each write, states of which every unit is old or new, drawn by a fixed seed."""
    drawn = random.Random(4)
    disk = bytes(before)
    for plan in plans:
        for step in plan.steps:
            if not isinstance(step, Write | Fill):
                continue
            storage = MemoryStorage(disk)
            WritePlan.of(plan.what, [step]).apply(storage)
            for unit in (SECTOR, 4096) * 4:
                torn = bytearray(disk)
                first = step.extent.offset // unit * unit
                for at in range(first, step.extent.end, unit):
                    if drawn.random() < 0.5:
                        torn[at : at + unit] = storage.data[at : at + unit]
                yield f"{plan.what}, {step.what}, units of {unit}", bytes(torn)
            disk = bytes(storage.data)


@on_versions
def test_the_old_header_ends_and_the_new_one_begins_with_one_byte(version: Version) -> None:
    before = volume(version, (0,))
    changed = []
    disk = bytes(before)
    for plan in plans(prepared(before, OTHER[version])):
        for step in plan.steps:
            if isinstance(step, Write | Fill):
                storage = MemoryStorage(disk)
                WritePlan.of(plan.what, [step]).apply(storage)
                if storage.data[7] != disk[7]:
                    changed.append(step.extent)
                disk = bytes(storage.data)
    assert [(extent.offset, extent.size) for extent in changed] == [(7, 1)]


@on_versions
def test_what_a_crash_left_can_be_converted_again_either_way(version: Version) -> None:
    before = volume(version, (0, 1))
    for name, state in states(before, plans(prepared(before, OTHER[version]))):
        for wanted in OTHER:
            with luksmeta.open(MemoryStorage(state)) as opened:
                if f"luks{opened.version}" == wanted:
                    continue
            if name.endswith("done"):
                after = converted(state, wanted)
                assert opens(after, (0, 1)), name


@on_versions
def test_there_and_back_gives_the_same_header(version: Version) -> None:
    before = volume(version, (0, 2, 5), ROOMY)
    back = converted(converted(before, OTHER[version]), version)
    one, other = (luksmeta.open(MemoryStorage(data)).metadata for data in (before, back))
    if version == "luks1":
        assert back[:1024] == before[:1024]
        assert other == one
    assert other.segments == one.segments
    assert list(other.keyslots) == list(one.keyslots)
    assert opens(back, (0, 2, 5))


@on_versions
@on_volumes
def test_no_copy_of_key_material_is_left_behind(
    version: Version, keyslots: tuple[int, ...], data_offset: int
) -> None:
    before = volume(version, keyslots, data_offset)
    after = converted(before, OTHER[version])
    with luksmeta.open(MemoryStorage(before)) as opened:
        offsets = [opened.metadata.keyslots[each].area.offset for each in keyslots]
    for offset in offsets:
        for part in range(offset, offset + 64000, 8000):
            assert after.count(before[part : part + 64]) == 1


def test_no_trace_of_a_luks2_header_stays_in_luks1() -> None:
    after = converted(volume("luks2", (1,)), "luks1")
    assert b"SKUL" not in after
    assert b"keyslots" not in after
    assert not any(after[1024:4096])


# --- without room ------------------------------------------------------------------------------


@on_versions
def test_without_room_a_backup_is_needed_and_opens_after_every_crash(
    version: Version, tmp_path: Path
) -> None:
    keyslots = tuple(range(8))
    path, file = tmp_path / "volume", tmp_path / "backup"
    path.write_bytes(volume(version, keyslots))
    with luksmeta.open(path) as opened:
        conversion = convert.prepare(opened, OTHER[version])
        backup.create(opened, file)
    assert conversion.needs_backup
    whole = file.read_bytes()
    for _, state in states(path.read_bytes(), plans(conversion)):
        storage = MemoryStorage(state)
        backup.restore(storage, file)
        assert storage.data.startswith(whole)
    assert opens(bytes(storage.data), keyslots)


@on_versions
def test_the_backup_is_made_first_and_goes_in_the_end(version: Version, tmp_path: Path) -> None:
    keyslots = tuple(range(8))
    storage = MemoryStorage(volume(version, keyslots))
    file = tmp_path / "backup"
    with luksmeta.open(storage, writable=True) as opened:
        conversion = convert.prepare(opened, OTHER[version])
        with pytest.raises(KeyslotsAreaFullError, match="a header backup file is needed"):
            conversion.apply(opened)
        file.write_bytes(b"precious")
        with pytest.raises(StorageBusyError, match="exists"):
            conversion.apply(opened, file)
        assert bytes(storage.data) == volume(version, keyslots)
        file.unlink()
        conversion.apply(opened, file)
    assert not file.exists()
    assert opens(bytes(storage.data), keyslots)


@on_versions
def test_while_areas_are_written_over_nobody_takes_it_for_a_volume(version: Version) -> None:
    """So nothing that is half done can be converted, or backed up, as if it were whole."""
    keyslots = tuple(range(8))
    before = volume(version, keyslots)
    seen = set()
    for name, state in states(before, plans(prepared(before, OTHER[version]))):
        try:
            with luksmeta.open(MemoryStorage(state)) as opened:
                found = f"luks{opened.version}"
        except HeaderError:
            found = "none"
            if name.endswith("done") and state[7] == 0:
                with pytest.raises(VersionError, match="left by a conversion that was cut off"):
                    luksmeta.open(MemoryStorage(state))
            with pytest.raises((HeaderError, NotLuksError)):
                repair.prepare(MemoryStorage(state))
        if found != "none" and name.endswith("done"):
            assert opens(state, (0, 7)), name
        seen.add(found)
    assert seen == {"luks1", "luks2", "none"}


@on_versions
@pytest.mark.parametrize("lie", ["write fails", "write short", "flush fails"])
def test_what_fails_without_room_is_undone(version: Version, lie: str, tmp_path: Path) -> None:
    before, file = volume(version, tuple(range(8))), tmp_path / "backup"
    for turn in itertools.count():
        storage = LyingStorage(before)
        with luksmeta.open(storage, writable=True) as opened:
            conversion = convert.prepare(opened, OTHER[version])
            storage.lie(lie, turn)
            with suppress(StorageError):
                conversion.apply(opened, file)
            assert storage.lied == (bytes(storage.data) == before)
            assert storage.lied == (opened.header is conversion.before)
        assert not file.exists()
        if not storage.lied:
            assert turn > 8
            return


def test_an_interrupt_without_room_is_undone(tmp_path: Path) -> None:
    before = volume("luks2", tuple(range(8)))
    storage, file = MemoryStorage(before), tmp_path / "backup"

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with luksmeta.open(storage, writable=True) as opened:
        opened.progress = interrupt
        conversion = convert.prepare(opened, "luks1")
        for keep in (True, False):
            with pytest.raises(KeyboardInterrupt):
                conversion.apply(opened, file, keep=keep)
            assert file.exists() == keep
            file.unlink(missing_ok=True)
    assert bytes(storage.data) == before


class Forgetful(MemoryStorage):
    """Says that it has written, and has not, what lies in ``lost``."""

    lost = range(0)

    def _write(self, offset: int, data: BytesLike) -> None:
        if offset not in self.lost:
            super()._write(offset, data)


@on_versions
def test_a_write_that_was_lost_is_noticed_while_there_is_a_backup(
    version: Version, tmp_path: Path
) -> None:
    before, file = volume(version, tuple(range(8))), tmp_path / "backup"
    storage = Forgetful(before)
    with luksmeta.open(storage, writable=True) as opened:
        conversion = convert.prepare(opened, OTHER[version])
        at = conversion.header.metadata.keyslots[3].area.offset
        storage.lost = range(at, at + 1)
        with pytest.raises(StorageError, match="reads back otherwise than it was written"):
            conversion.apply(opened, file)
    assert opens(bytes(storage.data), (0, 1, 2, 4, 5, 6, 7))
    assert bytes(storage.data) == before


def test_a_detached_header_has_its_size_again_when_a_conversion_is_undone(tmp_path: Path) -> None:
    before = bytearray(volume("luks1", tuple(range(8))))
    before[104:108] = bytes(4)  # the data lies in another file
    end = 4096 + 8 * (64 << 10)
    storage = Forgetful(before[:end])
    with luksmeta.open(storage, writable=True) as opened:
        conversion = convert.prepare(opened, "luks2")
        assert conversion.needs_backup
        storage.lost = range(32 << 10, (32 << 10) + 1)
        with pytest.raises(StorageError):
            conversion.apply(opened, tmp_path / "backup")
    assert bytes(storage.data) == bytes(before[:end])


def test_with_room_a_backup_is_made_where_one_is_named(tmp_path: Path) -> None:
    before = volume("luks1", (0, 1))
    storage = MemoryStorage(before)
    with luksmeta.open(storage, writable=True) as opened:
        convert.prepare(opened, "luks2").apply(opened, tmp_path / "backup", keep=True)
    kept = (tmp_path / "backup").read_bytes()
    assert kept == before[: len(kept)]
    assert opens(bytes(storage.data), (0, 1))


def test_the_backup_stays_when_nothing_can_be_undone(tmp_path: Path) -> None:
    before = volume("luks1", tuple(range(8)))
    storage, file = FailingStorage(before, writes=3), tmp_path / "my backup"
    with luksmeta.open(storage, writable=True) as opened:
        conversion = convert.prepare(opened, "luks2")
        way_out = f"no space left.*bring it back with: luksmeta restore-header failing -i '{file}'"
        with pytest.raises(StorageError, match=way_out):
            conversion.apply(opened, file)
    assert file.stat().st_mode & 0o777 == 0o400
    storage.writes_left = 1 << 20
    backup.restore(storage, file)
    assert opens(bytes(storage.data), tuple(range(8)))


# --- what is refused -----------------------------------------------------------------------------


@on_versions
def test_a_version_that_the_volume_has_is_refused(version: Version) -> None:
    with pytest.raises(UnsupportedError, match=f"{version.upper()} already"):
        prepared(volume(version, (0,)), version)


def test_a_header_that_changed_since_it_was_looked_at_is_not_converted() -> None:
    storage = MemoryStorage(volume("luks2", (0, 1)))
    with luksmeta.open(storage, writable=True) as opened:
        conversion = convert.prepare(opened, "luks1")
        with luksmeta.open(storage, writable=True) as another:
            another.remove_keyslot(1)
        now = bytes(storage.data)
        with pytest.raises(StorageBusyError, match="another process has changed"):
            conversion.apply(opened)
    assert bytes(storage.data) == now


@on_versions
def test_a_header_that_changed_since_it_was_read_is_not_converted(version: Version) -> None:
    storage = MemoryStorage(volume(version, (0, 1)))
    with luksmeta.open(storage, writable=True) as opened:
        with luksmeta.open(storage, writable=True) as another:
            another.remove_keyslot(1)
        with pytest.raises(StorageBusyError, match="another process has changed"):
            convert.prepare(opened, OTHER[version])


def test_luks1_without_room_for_luks2_is_refused_with_both_numbers() -> None:
    tight = CROWDED - 4096
    with pytest.raises(UnsupportedError, match=rf"starts at {tight:#x}.*end at {CROWDED:#x}"):
        prepared(volume("luks1", (0,), tight), "luks2")


def test_a_keyslot_that_may_be_in_use_is_not_converted_away() -> None:
    data = bytearray(volume("luks1", (0, 3), ROOMY))
    data[208 + 3 * 48 + 3] ^= 1  # of its state, a bit
    with pytest.raises(UnsupportedError, match="keyslot 3: state 0x00ac71f2, neither in use nor"):
        prepared(bytes(data), "luks2")


def test_what_the_luksmeta_tool_keeps_is_not_overwritten() -> None:
    data = bytearray(volume("luks1", (0,), ROOMY))
    end = 4096 + 8 * (64 << 10)
    data[end : end + 8] = b"LUKSMETA"
    with pytest.raises(UnsupportedError, match=f"luksmeta tool lies at {end:#x}"):
        prepared(bytes(data), "luks2")


@pytest.mark.parametrize("cipher", ["cipher_null-ecb", "capi:cbc(aes)-plain64"])
def test_a_cipher_that_is_none_for_keyslots_is_refused(cipher: str) -> None:
    data = bytearray(volume("luks1", (0,)))
    name, _, mode = cipher.rpartition("-")
    data[8:72] = name.encode().ljust(32, b"\0") + mode.encode().ljust(32, b"\0")
    with pytest.raises(UnsupportedError, match="none for LUKS2 keyslots"):
        prepared(bytes(data), "luks2")


def spoiled(*path: str, value: object) -> bytes:
    """A LUKS2 volume with keyslots 0 and 1 and one member of its document set."""
    data = volume("luks2", (0, 1), ROOMY)
    document = document_of(data)
    at: Any = document
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return with_document(data, document)


KDF_2 = {"type": "argon2id", "time": 4, "memory": 32, "cpus": 1, "salt": "A" * 43 + "="}
TOKEN = {"type": "mine", "keyslots": []}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("tokens", "3"), TOKEN, r"no place for the tokens \(3\)"),
        (("segments", "0", "sector_size"), 4096, "sector_size 4096, in LUKS1 it is always 512"),
        (("segments", "0", "iv_tweak"), "8", "iv_tweak 8, in LUKS1 it is always 0"),
        (("segments", "0", "size"), "4096", "size 4096, in LUKS1 it is always dynamic"),
        (("segments", "0", "encryption"), "aes", "cipher specification aes"),
        (("segments", "0", "encryption"), "aes-cbc-plain", "keyslot 0: aes-cbc-essiv:sha256 with"),
        (("segments", "0", "type"), "future", "1 segment, LUKS1 has one, of type crypt"),
        (("digests", "0", "type"), "future", "digests 0, LUKS1 has one"),
        (("keyslots", "1", "kdf", "hash"), "sha512", "keyslot 1: hash sha512"),
        (("keyslots", "1", "kdf"), KDF_2, "keyslot 1: LUKS1 knows PBKDF2 only"),
        (("keyslots", "1", "af", "hash"), "sha512", "keyslot 1: hash sha256"),
        (("keyslots", "1", "area", "size"), "64000", "keyslot 1: key of 16 bytes in an area of 64"),
        (("keyslots", "1", "area", "encryption"), "aes-cbc-plain", "keyslot 1: aes-cbc-plain"),
        (("segments", "0", "encryption"), f"{'a' * 32}-ecb", "the cipher name 'aaa.*31 bytes fit"),
        (("segments", "0", "encryption"), f"aes-{'c' * 32}", "the cipher mode 'ccc.*31 bytes fit"),
        (("digests", "0", "hash"), "h" * 1002, "the hash 'hhhh.*31 bytes fit"),
    ],
)
def test_what_luks1_has_no_place_for_is_refused(
    path: tuple[str, ...], value: object, message: str
) -> None:
    data = spoiled(*path, value=value)
    with pytest.raises(UnsupportedError, match=message):
        prepared(data, "luks1")


def test_data_that_starts_before_luks1_keyslots_would_end_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"starts at 0x80000, .* end at 0x80a00"):
        prepared(volume("luks2", (0,), 0x80000), "luks1")


@pytest.mark.parametrize("requirement", ["inline-hw-tags", "opal"])
def test_requirements_are_refused(requirement: str) -> None:
    data = spoiled("config", "requirements", value={"mandatory": [requirement]})
    with pytest.raises(UnsupportedError, match=requirement):
        prepared(data, "luks1")


def test_a_reencryption_is_refused_by_its_requirement(tmp_path: Path) -> None:
    data = spoiled("config", "requirements", value={"mandatory": ["offline-reencrypt"]})
    storage = MemoryStorage(data)
    with luksmeta.open(storage, writable=True) as opened, pytest.raises(RequirementError):
        opened.require_changeable()
    with pytest.raises(UnsupportedError, match="offline-reencrypt"):
        prepared(data, "luks1")


def test_keyslots_that_luks1_has_no_id_for_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="keyslot 8: LUKS1 has ids from 0 to 7"):
        prepared(volume("luks2", (0, 8), ROOMY), "luks1")


def test_a_volume_without_keyslots_is_refused_as_its_key_has_no_size() -> None:
    storage = MemoryStorage(volume("luks2", (0,)))
    with luksmeta.open(storage, writable=True) as opened:
        opened.erase()
        with pytest.raises(UnsupportedError, match="no keyslot in use"):
            convert.prepare(opened, "luks1")


def test_what_gets_lost_without_harm_is_told() -> None:
    storage = MemoryStorage(volume("luks2", (0, 1)))
    with luksmeta.open(storage, writable=True) as opened:
        opened.configure(label="mine", subsystem="his", flags=("allow-discards",))
        opened.set_priority(1, "high")
        notes = convert.prepare(opened, "luks1").notes
    assert notes == (
        "LUKS1 has no place for the label 'mine'",
        "LUKS1 has no place for the subsystem 'his'",
        "LUKS1 has no place for the persistent flags allow-discards",
        "LUKS1 has no place for the priority of keyslot 1",
    )
    assert opens(converted(bytes(storage.data), "luks1"), (0, 1))


def test_a_damaged_secondary_is_made_whole_before_the_primary_goes() -> None:
    data = bytearray(volume("luks2", (1,)))
    data[0x4000:0x5000] = bytes(4096)
    before = bytes(data)
    for name, state in states(before, plans(prepared(before, "luks1"))):
        assert opens(state, (1,)), name


# --- odd layouts --------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata_size", [32 << 10, 256 << 10, 4 << 20])
def test_larger_luks2_headers_make_way(metadata_size: int) -> None:
    storage = MemoryStorage(2 * metadata_size + (1 << 20) + 4096)
    offset = 2 * metadata_size + (1 << 20)
    fill(storage, (0, 1, 6), {"metadata_size": metadata_size, "data_offset": offset})
    before = bytes(storage.data)
    conversion = prepared(before, "luks1")
    assert not conversion.needs_backup
    disk = MemoryStorage(before)
    for change in conversion.changes:
        change.plan.apply(disk)
        assert opens(bytes(disk.data), (0, 1, 6)), change.plan.what
    assert luksmeta.open(disk).version == 1


def test_a_detached_header_is_extended_as_far_as_luks2_needs() -> None:
    header = MemoryStorage(0)
    data = MemoryStorage(1 << 20)
    luksmeta.format(
        data,
        passphrase(0),
        header=header,
        type="luks1",
        volume_key=KEY,
        cipher="aes-cbc-plain64",
        pbkdf=KDF,
        digest_iterations=1000,
    ).close()
    assert header.size < CROWDED
    after = converted(bytes(header.data), "luks2")
    assert len(after) == CROWDED
    assert opens(after, (0,))
    assert luksmeta.open(MemoryStorage(after)).metadata.data_offset == 0
    assert opens(converted(after, "luks1"), (0,))


def test_a_luks1_header_with_areas_anywhere_gets_the_usual_luks2_layout() -> None:
    data = bytearray(volume("luks1", (0, 1), ROOMY))
    header = Luks1Header.read(MemoryStorage(data))
    offsets = {**header.offsets, 0: header.offsets[7], 7: header.offsets[0]}
    data[:1024] = header.relocated(offsets).to_bytes()
    data[offsets[0] : offsets[0] + 64000] = data[4096 : 4096 + 64000]
    assert opens(bytes(data), (0, 1))
    after = converted(bytes(data), "luks2")
    assert opens(after, (0, 1))
    with luksmeta.open(MemoryStorage(after)) as opened:
        assert opened.metadata.keyslots[0].area.offset == 32 << 10


def test_areas_cannot_be_relocated_over_each_other() -> None:
    header = Luks1Header.read(MemoryStorage(volume("luks1", (0,))))
    with pytest.raises(HeaderError, match="overlaps"):
        header.relocated(dict.fromkeys(range(8), 4096))
