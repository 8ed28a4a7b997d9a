"""Files behind a loop device: what the kernel keeps of them must not change below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from luksmeta import StorageBusyError
from luksmeta.file_storage import FileStorage
from luksmeta.loop_devices import kernel_uses
from tests import builders
from tests.builders import FIRST, SECOND
from tests.cli.runner import CHEAP, done, key_file, luksmeta, refused
from tests.loop import loop_device


def test_the_loop_device_of_a_file_is_found(tmp_path: Path) -> None:
    path, other = tmp_path / "new\nline", tmp_path / "other"
    for each in (path, other):
        each.write_bytes(bytes(4096))
    link = tmp_path / "link"
    link.hardlink_to(path)
    assert kernel_uses(path) is None
    with loop_device(link) as device:
        assert kernel_uses(path) == kernel_uses(str(link)) == str(device)
        assert kernel_uses(other) is None
        with FileStorage(path) as storage:
            assert kernel_uses(storage.fileno()) == str(device)
        with pytest.raises(StorageBusyError, match=f"in use by the kernel as {device}"):
            FileStorage(path, writable=True, exclusive=True)
    assert kernel_uses(path) is None


def test_a_file_that_the_kernel_uses_is_neither_written_nor_formatted(tmp_path: Path) -> None:
    image, key = builders.file(tmp_path / "v", "luks2", FIRST), key_file(tmp_path)
    part = f"{image}#offset=0"
    second = key_file(tmp_path, SECOND, "second")
    with loop_device(image) as device:
        before = image.read_bytes()
        text = f"in use by the kernel as {device}"
        for name in (str(image), part):
            refused(luksmeta("write", name, "-d", key, "-i", key), 5, text, "losetup --detach")
            refused(luksmeta("format", name, "-q", "-d", key, *CHEAP), 5, text)
        plain = ("--type", "plain", "-c", "aes-xts-plain64", "-s", "256", "-q")
        raw = key_file(tmp_path, bytes(32), "raw")
        refused(luksmeta("write", image, *plain, "-d", raw, "-i", key), 5, text)
        assert image.read_bytes() == before
        done(luksmeta("read", image, "-d", key, "-o", tmp_path / "plain"))
        done(luksmeta("write", image, "-d", key, "-i", key, "--dry-run"))
        done(luksmeta("write", device, "-d", key, "-i", second))
    done(luksmeta("write", image, "-d", key, "-i", key))
