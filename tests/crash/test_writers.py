"""Nothing writes to a volume but a write plan, and the stream of its data.

That every command keeps to its plans is tried with :class:`~tests.crash.storages.PlannedStorage`,
in test_states.py; here the package's own text is read.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

import luksmeta
from luksmeta import MemoryStorage
from luksmeta.format_options import Version
from luksmeta.write_plan import Resize, WritePlan
from tests.builders import DATA_SIZE, FIRST, VERSIONS, data_offset, image
from tests.crash.storages import PlannedStorage
from tests.source import Module, modules

_WRITING: tuple[str, ...]
_WRITING = ("_pwrite", "_write", "copy_file_range", "fallocate", "ftruncate", "posix_fallocate")
_WRITING += ("pwrite", "pwritev", "reserve", "resize", "sendfile", "splice", "truncate", "write_at")
_WRITING += ("write_bytes", "write_text", "writelines", "writev")
_OPENING = ("open", "fdopen", "TemporaryFile", "NamedTemporaryFile", "copyfile")
_NO_WRITES = (
    "resizing.resize",  # makes a plan
    "self._write",  # of the one that does what it may
)
MAY = {  # what writes, and what to
    "write_plan": "the one way to change a header",
    "storage": "the ways to a file, below the plans",
    "file_storage": "files and block devices",
    "target": "files that a caller has opened",
    "overlay": "memory and a file without a name; commit brings the data of `write` to the volume",
    "segment_stream": "the data of an unlocked volume",
    "copying": "the same, through the stream",
    "new_volume": "cuts a file back that formatting has extended, after an error",
    "prepared_change": "a new file, the copy of a header",
    "trust.snapshot": "data behind the header, for a writer above it",
    "disks.part_storage": "the same, a part of it",
    "dm.mapped_device": "the same, through a table",
    "dm.targets.crypt": "the same",
    "dm.targets.mirror": "the same",
    "dm.targets.snapshot": "the same; the exception store has plans",
    "dm.targets.striped": "the same",
    "plaintext_device": "the same, for other programs",
    "forensics.guessing.state": "a file of its own, with the position of a search",
    "forensics.recovery.detached": "new files: a header, a repaired copy",
    "forensics.recovery.from_volume_key": "a header in memory",
    "images.filesystem_makers": "a file without a name, for a file system",
    "cli.background": "a pipe between two processes",
    "cli.recover": "new files, by forensics.recovery.detached",
    "cli.trying": "a new file for the passphrase that was found",
    "cli.read_log": "a new file for a record of reads",
    "cli.new_files": "a new file: lines about keyslots, a volume key, a token",
    "cli.reading": "a new file of plaintext",
}


def _writes(module: Module) -> Iterator[str]:
    """Calls that change a file, and those that open one to be changed."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        call = ast.unparse(node.func)
        is_write = (name in _WRITING or call == "os.write") and call not in _NO_WRITES
        if is_write or (name in _OPENING and _opens_for_writing(node)):
            yield f"{module.path}:{node.lineno}: {ast.unparse(node)}"


def _opens_for_writing(call: ast.Call) -> bool:
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    texts = [each.value for each in values if isinstance(each, ast.Constant)]
    modes = [text for text in texts if isinstance(text, str) and set(text) <= set("rwxabt+")]
    return any(set(mode) & set("wxa+") for mode in modes)


@pytest.mark.parametrize("module", modules(), ids=lambda module: str(module.path))
def test_a_module_writes_only_what_it_may(module: Module) -> None:
    assert module.name in MAY or list(_writes(module)) == []


def test_no_module_is_admitted_that_does_not_write() -> None:
    assert {module.name for module in modules() if list(_writes(module))} == set(MAY)


def test_a_write_outside_a_plan_would_be_noticed() -> None:
    storage = PlannedStorage(image("luks2"))
    with storage.watched():
        with pytest.raises(AssertionError, match="without a plan"):
            storage.write_at(0, b"x")
        with pytest.raises(AssertionError, match="without a plan"):
            storage.resize(5)
        WritePlan.of("cut", [Resize(5, "cut")]).apply(storage)
    assert storage.size == 5


@pytest.mark.parametrize("version", VERSIONS)
def test_data_never_goes_where_header_and_keyslots_are(version: Version) -> None:
    storage = MemoryStorage(image(version))
    with (
        luksmeta.open(storage, writable=True) as volume,
        volume.unlock(FIRST) as unlocked,
        unlocked.open(writable=True) as data,
    ):
        data.write(b"x" * DATA_SIZE)
    assert storage.data[: data_offset(version)] == image(version)[: data_offset(version)]
    assert storage.data[data_offset(version) :] != image(version)[data_offset(version) :]
