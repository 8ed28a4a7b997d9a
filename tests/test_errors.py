"""Errors say which file they are about, and what to do next."""

from __future__ import annotations

from pathlib import Path

import pytest

import luksmeta
from luksmeta.errors import (
    HeaderError,
    LuksError,
    NotLuksError,
    ResourceLimitError,
    StorageError,
    Violation,
    errors_about,
)
from tests import builders
from tests.builders import memory


def test_an_error_names_its_file_before_its_text_and_once() -> None:
    error = StorageError("short read").about("disk.img")
    assert (str(error), error.text, error.storage_name) == (
        "disk.img: short read",
        "short read",
        "disk.img",
    )
    assert str(error.about("other.img")) == "disk.img: short read"
    assert (str(LuksError("alone")), LuksError("alone").storage_name) == ("alone", None)


def test_what_is_raised_about_a_file_names_it_unless_it_names_another() -> None:
    with pytest.raises(StorageError, match=r"^a: x$"), errors_about("a"):
        raise StorageError("x")
    with pytest.raises(StorageError, match=r"^b: x$"), errors_about("a"):
        raise StorageError("x").about("b")
    with pytest.raises(ValueError, match=r"^x$"), errors_about("a"):
        raise ValueError("x")


def test_a_volume_s_errors_name_its_header(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "volume.img", "luks2")
    with luksmeta.open(path, writable=True) as volume:
        for act in (
            lambda: volume.unlock(b"wrong"),
            lambda: volume.unlock(b"wrong", keyslot=9),
            lambda: volume.unlock(volume_key=bytes(32)),
            lambda: volume.remove_keyslot(9),
            lambda: volume.tokens.remove(9),
        ):
            with pytest.raises(LuksError) as raised:
                act()
            assert raised.value.storage_name == str(path)
            assert str(raised.value).startswith(f"{path}: ")
    data = bytearray(memory("luks2").data)
    data[5000] ^= 1
    data[16384 + 5000] ^= 1
    with pytest.raises(HeaderError) as damaged:
        luksmeta.open(luksmeta.MemoryStorage(data, name="both"))
    assert damaged.value.storage_name == "both"


def test_a_hint_goes_with_the_kind_of_error_and_with_what_it_knows() -> None:
    violations = [Violation("a", "b", "c")] * 2
    assert HeaderError("x").hint is None
    assert HeaderError("x", violations=violations[:1]).hint is None
    assert HeaderError("x", violations=violations).hint == "repair --dry-run lists them all"
    assert "--header" in str(NotLuksError("x").hint)
    limits = {"memory": "--max-memory", "milliseconds": "--max-time", "cpus": "--max-threads"}
    for cost, option in limits.items():
        error = ResourceLimitError("x", asked=2, limit=1, cost=cost)
        assert error.hint == error.of("keyslot 0").hint == f"{option} raises the limit"
    assert ResourceLimitError("x", asked=2, limit=1).hint is None
    assert NotLuksError("x").advise("look").hint == "look"
