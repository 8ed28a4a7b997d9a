"""Encrypted images out of plaintext: what is in them, and what is left when it goes wrong."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import luksmeta
from luksmeta.errors import StorageBusyError, StorageError, UnsupportedError, VerificationError
from luksmeta.file_storage import FileStorage
from luksmeta.format_options import Version
from luksmeta.images import encrypting_copy
from luksmeta.images.encrypting_copy import encrypt_image, image_size
from luksmeta.images.raw_image import RawImage
from luksmeta.locking import locked
from luksmeta.new_volume import FormatKeywords
from luksmeta.random_bytes import seeded
from luksmeta.storage import MemoryStorage
from tests import builders
from tests.corpus import PROJECT, stream
from tests.images.trees import CHEAP

PLAINTEXT = stream("plaintext", 1_000_000) + bytes(1_000_000) + stream("end", 97_152)  # sectors
OLD = b"what was there before"


def source(content: bytes = PLAINTEXT) -> RawImage:
    return RawImage(MemoryStorage(content))


def plaintext_of(path: Path) -> bytes:
    with luksmeta.open(path) as volume, volume.unlock(builders.FIRST) as unlocked:
        return unlocked.open().readall()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Failing(RawImage):
    """A source that fails at its second chunk, in whatever way."""

    def __init__(self, failure: BaseException) -> None:
        super().__init__(MemoryStorage(PLAINTEXT))
        self.failure = failure

    def read_into_at(self, offset: int, buffer: object) -> None:
        if offset:
            raise self.failure
        super().read_into_at(offset, buffer)  # type: ignore[arg-type]  # a buffer, as in the base


@pytest.mark.parametrize("version", builders.VERSIONS)
def test_the_image_holds_the_source_and_nothing_else(version: Version, tmp_path: Path) -> None:
    image = tmp_path / "image"
    options: FormatKeywords = {**CHEAP, "type": version}
    made = encrypt_image(image, builders.FIRST, source(), **options)
    assert plaintext_of(image) == PLAINTEXT
    assert image.stat().st_size == made.size == made.data.end
    assert (made.sha256, made.verified) == (hashlib.sha256(PLAINTEXT).hexdigest(), True)
    assert image.stat().st_mode & 0o777 == 0o600
    assert names_in(tmp_path) == ["image"]


def test_zeroes_of_the_source_are_encrypted_as_all_else(tmp_path: Path) -> None:
    """A hole would tell where nothing was, and decrypt to noise."""
    raw = tmp_path / "raw"
    with raw.open("wb") as file:
        file.truncate(4 << 20)
    with RawImage(raw) as holes:
        made = encrypt_image(tmp_path / "image", builders.FIRST, holes, **CHEAP)
    data = (tmp_path / "image").read_bytes()[made.data.offset :]
    assert bytes(64) not in data
    assert plaintext_of(tmp_path / "image") == bytes(4 << 20)


def test_a_ragged_end_is_filled_up_with_zeroes_to_a_sector(tmp_path: Path) -> None:
    encrypt_image(tmp_path / "image", builders.FIRST, source(b"x" * 1025), **CHEAP)
    assert plaintext_of(tmp_path / "image") == b"x" * 1025 + bytes(511)
    encrypt_image(tmp_path / "roomy", builders.FIRST, source(b"x" * 1025), size=17 << 20, **CHEAP)
    assert plaintext_of(tmp_path / "roomy")[:4096] == b"x" * 1025 + bytes(3071)


def test_a_size_leaves_room_behind_the_data(tmp_path: Path) -> None:
    made = encrypt_image(tmp_path / "image", builders.FIRST, source(), size=20 << 20, **CHEAP)
    assert (tmp_path / "image").stat().st_size == made.size == 20 << 20
    assert plaintext_of(tmp_path / "image").startswith(PLAINTEXT)


def test_a_size_that_is_too_small_names_the_least() -> None:
    least = (16 << 20) + len(PLAINTEXT)
    assert image_size(len(PLAINTEXT)) == least
    with pytest.raises(ValueError, match=f"size {least - 1}: .* it takes {least}"):
        image_size(len(PLAINTEXT), least - 1)


def test_where_the_data_starts_is_known_before_the_header_is_made(tmp_path: Path) -> None:
    """For every option that moves it."""
    cases: tuple[FormatKeywords, ...] = (
        {"type": "luks1"},
        {"type": "luks1", "cipher": "aes-cbc-plain64"},
        {"type": "luks1", "data_offset": 4 << 20},
        {"metadata_size": 64 << 10, "keyslots_size": 1 << 20},
        {"data_offset": 8 << 20, "sector_size": 4096},
    )
    for case in cases:
        options: FormatKeywords = {**CHEAP, **case}
        made = encrypt_image(tmp_path / "image", builders.FIRST, source(), **options)
        assert made.data.offset == encrypting_copy.data_offset(**case)
        assert plaintext_of(tmp_path / "image").startswith(PLAINTEXT)


def sector_size_of(path: Path) -> int:
    with luksmeta.open(path) as volume, volume.unlock(builders.FIRST) as unlocked:
        return unlocked.open().sector_size


def test_sectors_are_no_larger_than_the_blocks_that_the_source_may_have(tmp_path: Path) -> None:
    """From larger ones a kernel mounts no file system, and reads no partition table."""
    image = tmp_path / "image"
    content = stream("blocks", 8192)
    encrypt_image(image, builders.FIRST, source(content), **CHEAP)
    assert sector_size_of(image) == 512
    large = RawImage(MemoryStorage(content), sector_size=4096)
    encrypt_image(image, builders.FIRST, large, **CHEAP)
    assert sector_size_of(image) == 4096
    ragged = RawImage(MemoryStorage(content[:4608]), sector_size=4096)
    encrypt_image(tmp_path / "ragged", builders.FIRST, ragged, **CHEAP)
    assert sector_size_of(tmp_path / "ragged") == 512
    with (
        luksmeta.open(image) as volume,
        volume.unlock(builders.FIRST) as unlocked,
        unlocked.open() as plaintext,
    ):
        encrypt_image(tmp_path / "again", builders.FIRST, plaintext, **CHEAP)
    assert sector_size_of(tmp_path / "again") == 4096


def test_another_volumes_plaintext_is_a_source(tmp_path: Path) -> None:
    old = builders.file(tmp_path / "old", "luks1")
    with (
        luksmeta.open(old) as volume,
        volume.unlock(builders.FIRST) as unlocked,
        unlocked.open() as plaintext,
    ):
        encrypt_image(tmp_path / "new", builders.FIRST, plaintext, **CHEAP)
    assert plaintext_of(tmp_path / "new") == plaintext_of(old)


def test_an_old_file_is_replaced_and_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "link").symlink_to("file")
    encrypt_image(tmp_path / "link", builders.FIRST, source(), **CHEAP)
    assert (tmp_path / "link").is_symlink()
    assert plaintext_of(tmp_path / "file") == PLAINTEXT


@pytest.mark.parametrize("failure", [StorageError("broken"), KeyboardInterrupt(), MemoryError()])
def test_a_failure_leaves_the_old_content_and_no_other_file(
    failure: BaseException, tmp_path: Path
) -> None:
    (tmp_path / "image").write_bytes(OLD)
    with pytest.raises(type(failure)):
        encrypt_image(tmp_path / "image", builders.FIRST, Failing(failure), **CHEAP)
    with pytest.raises(type(failure)):
        encrypt_image(tmp_path / "new", builders.FIRST, Failing(failure), **CHEAP)
    assert names_in(tmp_path) == ["image"]
    assert (tmp_path / "image").read_bytes() == OLD


_KILLED = """
import os, signal, sys
from luksmeta.images.encrypting_copy import encrypt_image
from tests.images.test_encrypting_copy import CHEAP, Failing

class Killing(Failing):
    def read_into_at(self, offset, buffer):
        if offset:
            os.kill(os.getpid(), signal.SIGKILL)
        super().read_into_at(offset, buffer)

encrypt_image(sys.argv[1], b"first", Killing(KeyboardInterrupt()), **CHEAP)
"""


def test_a_kill_leaves_the_old_content_and_no_plaintext(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(OLD)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, tmp_path / "image"], cwd=PROJECT, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "image").read_bytes() == OLD
    (left,) = (path for path in tmp_path.iterdir() if path.name != "image")
    assert left.name.startswith(".luksmeta.")
    assert PLAINTEXT[:512] not in left.read_bytes()


def test_the_names_of_incomplete_files_are_told(tmp_path: Path) -> None:
    told: list[str] = []

    class Guard:
        def __init__(self, name: str) -> None:
            told.append(name)

        def __enter__(self) -> None:
            assert names_in(tmp_path) == [Path(told[0]).name]

        def __exit__(self, *_: object) -> None:
            assert names_in(tmp_path) == ["image"]

    encrypt_image(tmp_path / "image", builders.FIRST, source(), guard=Guard, **CHEAP)
    assert [Path(name).parent for name in told] == [tmp_path]


def test_what_reads_back_otherwise_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that changes a byte of what it is given."""
    write = FileStorage._write

    def lying(self: FileStorage, offset: int, data: bytes) -> None:
        write(self, offset, data)
        if offset >= 16 << 20:
            write(self, offset, b"\xa5")

    monkeypatch.setattr(FileStorage, "_write", lying)
    with pytest.raises(VerificationError, match="reads back with SHA-256"):
        encrypt_image(tmp_path / "image", builders.FIRST, source(), **CHEAP)
    assert names_in(tmp_path) == []
    made = encrypt_image(tmp_path / "image", builders.FIRST, source(), verify=False, **CHEAP)
    assert not made.verified


def test_a_dry_run_writes_nothing_and_says_where_all_would_go(tmp_path: Path) -> None:
    made = encrypt_image(tmp_path / "image", builders.FIRST, source(), dry_run=True, **CHEAP)
    assert names_in(tmp_path) == []
    assert (made.sha256, made.verified) == (None, False)
    assert made.data.offset == 16 << 20
    assert [plan.what for plan in made.written][:2] == ["make room", "format"]


def test_what_is_no_regular_file_cannot_be_replaced(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="goes to a file"):
        encrypt_image(tmp_path, builders.FIRST, source(), **CHEAP)
    with pytest.raises(StorageError, match="no such file") as caught:
        encrypt_image(tmp_path / "no" / "image", builders.FIRST, source(), **CHEAP)
    assert caught.value.storage_name == str(tmp_path / "no" / "image")


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="source is empty"):
        encrypt_image(tmp_path / "image", builders.FIRST, source(b""), **CHEAP)


def test_progress_goes_from_start_to_end_through_both_passes(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    encrypt_image(
        tmp_path / "image",
        builders.FIRST,
        source(),
        progress=lambda done, total: calls.append((done, total)),
        **CHEAP,
    )
    assert calls == sorted(calls)
    assert {total for _, total in calls} == {2 * len(PLAINTEXT)}
    assert calls[-1][0] == 2 * len(PLAINTEXT)


def test_the_same_seed_gives_the_same_image(tmp_path: Path) -> None:
    images = []
    for name, seed in (("one", b"seed"), ("two", b"seed"), ("three", b"other")):
        with seeded(seed):
            encrypt_image(tmp_path / name, builders.FIRST, source(), **CHEAP)
        images.append((tmp_path / name).read_bytes())
    assert images[0] == images[1] != images[2]


def test_a_raw_image_is_locked_and_never_written(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(PLAINTEXT)
    before = path.stat()
    with RawImage(path) as raw:
        assert not raw.storage.writable
        with (
            FileStorage(path, writable=True) as other,
            pytest.raises(StorageBusyError, match="locked"),
            locked(other, exclusive=True, wait_seconds=0),
        ):
            pass
        encrypt_image(tmp_path / "image", builders.FIRST, raw, **CHEAP)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.read_bytes() == PLAINTEXT


def test_a_file_object_is_a_raw_image(tmp_path: Path) -> None:
    with RawImage(io.BytesIO(PLAINTEXT)) as raw:
        encrypt_image(tmp_path / "image", builders.FIRST, raw, **CHEAP)
    assert plaintext_of(tmp_path / "image") == PLAINTEXT


def test_a_source_that_shrinks_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(PLAINTEXT)
    with RawImage(path) as raw:
        before = path.stat().st_mtime_ns
        os.truncate(path, 1 << 20)
        os.utime(path, ns=(before, before))
        with pytest.raises(StorageError, match="cannot read"):
            encrypt_image(tmp_path / "image", builders.FIRST, raw, **CHEAP)
    assert names_in(tmp_path) == ["raw"]


def test_a_source_that_is_written_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(PLAINTEXT)
    os.utime(path, ns=(0, 0))
    with RawImage(path) as raw:
        raw.read_into_at(0, bytearray(512))
        with path.open("r+b") as other:
            other.write(b"new")
        with pytest.raises(StorageBusyError, match="raw: was written while it was read"):
            encrypt_image(tmp_path / "image", builders.FIRST, raw, **CHEAP)
    assert names_in(tmp_path) == ["raw"]
