"""Independent programs that read and write LUKS: one module each, named as the program.

Calling one that is not installed skips the running test and says what is missing; with
LUKSMETA_REQUIRE_PEERS=1 the test fails instead.
"""

from __future__ import annotations

from tests.interop.peers import cryptsetup, dissect, grub, kernel, libluksde, nbdkit, qemu
from tests.interop.peers.process import PeerError

__all__ = [
    "PeerError",
    "cryptsetup",
    "dissect",
    "grub",
    "kernel",
    "libluksde",
    "nbdkit",
    "qemu",
]
