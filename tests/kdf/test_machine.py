"""What the machine says about itself, against the kernel's own table."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from luksmeta.kdf import machine


def test_memory_is_positive_and_less_is_free_than_there_is() -> None:
    assert 0 < machine.free_memory() <= machine.physical_memory()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/meminfo is Linux's")
def test_memory_and_swap_are_those_of_proc_meminfo() -> None:
    table = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    assert machine.physical_memory() == int(table["MemTotal"].split()[0])
    assert machine.has_swap() == (int(table["SwapTotal"].split()[0]) > 0)


def test_memory_that_the_system_does_not_tell_is_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf_names", {})
    assert machine.physical_memory() == machine.UNKNOWN_MEMORY
    assert machine.free_memory() == machine.UNKNOWN_MEMORY


def test_a_processor_is_there_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.online_cpus() == 1
