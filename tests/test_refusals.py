"""What would cost the user data is refused before a byte is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import luksmeta
from luksmeta import (
    HeaderError,
    MemoryStorage,
    RequirementError,
    StorageError,
    UnsupportedError,
)
from luksmeta.format_options import Version
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.header import Luks2Header
from tests.builders import (
    DATA_SIZE,
    FIRST,
    KDF,
    SECOND,
    VERSIONS,
    data_offset,
    document_of,
    file,
    image,
    memory,
    opened,
    with_document,
)

HDR_SIZE = 16 << 10
MBR = b"\x00\x02\x00\x83".ljust(64, b"\1") + b"\x55\xaa"  # from byte 446 on


@pytest.mark.parametrize(
    ("encryption", "key_size"), [("aes-cbc-plain64", 32), ("aes-xts-plain64", 64), (None, 64)]
)
def test_a_luks1_keyslot_is_encrypted_as_the_data_or_not_at_all(
    encryption: str | None, key_size: int
) -> None:
    storage = memory("luks1", FIRST)
    before = bytes(storage.data)
    with luksmeta.open(storage, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        with pytest.raises(UnsupportedError, match="LUKS1 encrypts keyslots as the data"):
            unlocked.add_keyslot(SECOND, pbkdf=KDF, encryption=encryption, area_key_size=key_size)
        with pytest.raises(UnsupportedError, match="LUKS1 encrypts keyslots as the data"):
            unlocked.change_keyslot(
                0, SECOND, pbkdf=KDF, encryption=encryption, area_key_size=key_size
            )
    assert bytes(storage.data) == before


@pytest.mark.parametrize(("version", "expected"), [("luks1", 2 << 20), ("luks2", 16 << 20)])
def test_data_at_offset_0_lies_behind_the_header_all_the_same(
    version: Version, expected: int
) -> None:
    """As in cryptsetup, where 0 asks for the default."""
    with luksmeta.format(
        MemoryStorage(32 << 20),
        FIRST,
        type=version,
        pbkdf=KDF,
        digest_iterations=1000,
        data_offset=0,
    ) as volume:
        assert volume.metadata.data_offset == expected


@pytest.mark.parametrize("offset", [-4096, 1 << 41, 1 << 70])
def test_a_luks1_data_offset_that_the_header_cannot_hold_is_refused(offset: int) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 2199023255040 bytes"):
        luksmeta.format(MemoryStorage(), FIRST, type="luks1", pbkdf=KDF, data_offset=offset)


def test_a_luks2_data_offset_that_no_file_has_is_refused() -> None:
    with pytest.raises(ValueError, match="is not between 0 and"):
        luksmeta.format(MemoryStorage(), FIRST, pbkdf=KDF, data_offset=1 << 63)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_detached_header_in_the_file_of_its_data_is_refused(
    version: Version, tmp_path: Path
) -> None:
    path, link = tmp_path / "volume", tmp_path / "link"
    path.write_bytes(bytes(32 << 20))
    link.symlink_to(path)
    with pytest.raises(ValueError, match="lies in another file than its data"):
        luksmeta.format(path, FIRST, type=version, header=link, pbkdf=KDF)
    assert path.read_bytes() == bytes(32 << 20)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_detached_header_opened_without_its_data_gives_no_stream(
    version: Version, tmp_path: Path
) -> None:
    header, data = tmp_path / "header", tmp_path / "data"
    luksmeta.format(
        data, FIRST, size=1 << 20, type=version, header=header, pbkdf=KDF, digest_iterations=1000
    ).close()
    before = header.read_bytes()
    with (
        luksmeta.open(header, writable=True) as volume,
        volume.unlock(FIRST) as unlocked,
        pytest.raises(UnsupportedError, match="its data lies in another file"),
    ):
        unlocked.open(writable=True)
    assert header.read_bytes() == before


@pytest.mark.parametrize("version", VERSIONS)
def test_a_header_named_twice_is_opened_once(version: Version, tmp_path: Path) -> None:
    path = file(tmp_path / "volume", version)
    with luksmeta.open(path, header=path, writable=True) as volume:
        assert not volume.is_detached
        with volume.unlock(FIRST) as unlocked, unlocked.open(writable=True) as stream:
            stream.write(b"data")


@pytest.mark.parametrize(
    "change",
    [
        lambda volume, _: volume.configure(label="mine"),
        lambda volume, _: volume.remove_keyslot(1),
        lambda volume, _: volume.erase(),
        lambda _, unlocked: unlocked.add_keyslot(b"another", pbkdf=KDF),
        lambda _, unlocked: unlocked.change_keyslot(0, b"another", pbkdf=KDF),
    ],
    ids=["configure", "remove", "erase", "add", "change"],
)
def test_a_partition_table_over_a_header_copy_is_not_destroyed(
    change: Callable[[luksmeta.Volume, luksmeta.UnlockedVolume], object],
) -> None:
    """cryptsetup refuses too: "ambiguous signatures"."""
    disk = bytearray(image("luks2", (FIRST, SECOND)))
    disk[446:512] = MBR
    storage = MemoryStorage(disk)
    with luksmeta.open(storage, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        with pytest.raises(HeaderError, match="MBR partition table at 0x1fe lies over a header"):
            change(volume, unlocked)
        assert bytes(storage.data) == bytes(disk)


def test_a_damaged_copy_without_a_foreign_signature_is_written_anew() -> None:
    disk = bytearray(image("luks2"))
    disk[0:4096] = bytes(4096)
    storage = MemoryStorage(disk)
    with luksmeta.open(storage, writable=True) as volume:
        volume.configure(label="mine")
    assert all(copy.problem is None for copy in Luks2Header.read(storage).copies)


def test_a_requirement_that_appears_meanwhile_forbids_the_change() -> None:
    storage = memory("luks2", FIRST)
    with luksmeta.open(storage, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        document = document_of(bytes(storage.data))
        document["config"]["requirements"] = {"mandatory": ["future-thing"]}
        seqid = Luks2Header.read(storage).seqid + 1
        storage.data[:] = with_document(
            bytes(storage.data), document, copies=tuple(HeaderCopy), seqid=seqid
        )
        before = bytes(storage.data)
        with pytest.raises(RequirementError, match="'future-thing' is not known here"):
            unlocked.add_keyslot(SECOND, pbkdf=KDF)
        assert bytes(storage.data) == before


@pytest.mark.parametrize("size", [DATA_SIZE + 512, 1 << 62])
def test_a_segment_that_ends_behind_its_device_is_neither_read_nor_written(size: int) -> None:
    document = document_of(image("luks2"))
    document["segments"]["0"]["size"] = str(size)
    storage = MemoryStorage(with_document(image("luks2"), document))
    before = bytes(storage.data)
    end = data_offset("luks2") + size
    with luksmeta.open(storage, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        for writable in (False, True):
            with pytest.raises(StorageError, match=f"segment 0: ends at {end:#x}, memory at"):
                unlocked.open(writable=writable)
    assert bytes(storage.data) == before


def test_keyslots_that_cryptsetup_cannot_use_are_not_tried() -> None:
    document = document_of(image("luks2"))
    document["keyslots"]["77"] = document["keyslots"].pop("0")
    document["digests"]["0"]["keyslots"] = ["77"]
    storage = MemoryStorage(with_document(image("luks2"), document))
    with luksmeta.open(storage) as volume, pytest.raises(luksmeta.PassphraseError) as caught:
        volume.unlock(FIRST)
    assert caught.value.tried == ()


def test_several_keyslots_can_be_named() -> None:
    with opened("luks2", FIRST, SECOND) as volume:
        with volume.unlock(SECOND, keyslot=(0, 1)) as unlocked:
            assert unlocked.keyslot == 1
        with pytest.raises(luksmeta.PassphraseError) as caught:
            volume.unlock(b"neither", keyslot=[1, 0])
    assert caught.value.tried == (1, 0)
