"""What this machine has for a KDF to use: memory in KiB, swap, processors."""

from __future__ import annotations

import os
import sys
from pathlib import Path

UNKNOWN_MEMORY = 1 << 20
"""KiB; what cryptsetup assumes where the system tells nothing usable (lib/utils_pbkdf.c)."""


def physical_memory() -> int:
    """KiB of RAM, or UNKNOWN_MEMORY."""
    if sys.platform == "win32":
        return _windows_memory()[0]
    return _pages("SC_PHYS_PAGES")


def free_memory() -> int:
    """KiB of RAM that nothing uses, not even a cache, or UNKNOWN_MEMORY."""
    if sys.platform == "win32":
        return _windows_memory()[1]
    return _pages("SC_AVPHYS_PAGES")


def has_swap() -> bool:
    """Whether there is swap space; taken for granted on systems other than Linux."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return True
    return any(line.startswith("SwapTotal:") and line.split()[1] != "0" for line in lines)


def online_cpus() -> int:
    """Processors that are switched on, at least 1."""
    return os.cpu_count() or 1


def usable_cpus() -> int:
    """Processors that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return online_cpus()


if sys.platform == "win32":

    def _windows_memory() -> tuple[int, int]:
        """KiB in all, KiB free: GlobalMemoryStatusEx of kernel32."""
        import ctypes

        # MEMORYSTATUSEX: two DWORDs (its own size, the load), then seven DWORDLONGs of bytes.
        status = (ctypes.c_uint64 * 8)()
        status[0] = ctypes.sizeof(status)
        if not ctypes.windll.kernel32.GlobalMemoryStatusEx(status):
            return UNKNOWN_MEMORY, UNKNOWN_MEMORY
        return status[1] // 1024, status[2] // 1024

else:

    def _pages(name: str) -> int:
        if name not in os.sysconf_names:
            return UNKNOWN_MEMORY
        pages = os.sysconf(name)
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024 if pages > 0 else UNKNOWN_MEMORY
