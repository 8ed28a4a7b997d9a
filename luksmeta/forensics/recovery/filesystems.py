"""What lies in decrypted bytes: file systems, volume managers, partition tables.

A wrong key, cipher, sector size or offset gives random bytes. So a superblock that makes sense
proves all of them at once; sectors that are not random only speak for them. Magics of two bytes are
not enough where thousands of keys and places are tried: more of the structure is looked at then.
Layouts are those of the Linux kernel's headers, of UEFI 2.10 (GPT) and of Microsoft's FAT
specification.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from luksmeta.signatures import SIGNATURES, find_signatures
from luksmeta.storage import MemoryStorage

LOOKED_AT: Final = 0x11000
"""How many bytes from the start matter: the superblock of btrfs lies farthest, at 64 KiB."""

WINDOWS: Final = ((0, 0x2000), (0x8000, 0x9000), (0x10000, LOOKED_AT))
"""Where in them superblocks lie: the rest need not be decrypted."""

_WEAK: Final = ("ext2/3/4", "FAT", "boot sector", "GPT", "XFS", "SquashFS", "LUKS")
_STEP: Final = 512
_BLOCK: Final = 16  # of all ciphers that are tried
_VALUES_MIN: Final = 170
"""Different bytes in 512 random ones: 221 on average, standard deviation 4.5."""

_CLEAR_MIN: Final = 4  # steps that are not random; none of noise is


@dataclass(frozen=True, slots=True)
class Recognition:
    """What decrypted bytes are.

    ``name`` is None where no structure is known; ``clear`` of ``judged`` steps of 512 bytes are not
    random, which the output of a cipher always is. ``packed`` is how small they can be compressed:
    a wrong IV or sector size leaves noise between what is right.
    """

    name: str | None
    clear: int
    judged: int
    packed: int

    @property
    def proves(self) -> bool:
        """Whether it can stand in for a digest: a known structure does, what is not random not.

        Data that was never encrypted, or under another key, can decrypt to the latter.
        """
        return self.name is not None

    @property
    def order(self) -> tuple[bool, int]:
        """The likeliest first: a known structure, then what is packed best."""
        return not self.proves, self.packed

    @property
    def text(self) -> str:
        """The same in a sentence."""
        what = self.name or "no file system that is known"
        return f"{what}; {self.clear} of {self.judged} sectors are not random"


def random_steps(data: bytes) -> tuple[int, ...]:
    """Where 512 bytes begin that could be the output of a cipher.

    A block of 16 bytes that occurs twice in ``data`` is none: what repeats itself has the values of
    noise, and not its output under any key.
    """
    blocks = Counter(data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK))
    repeated = {block for block, count in blocks.items() if count > 1}
    return tuple(
        at
        for at in range(0, len(data), _STEP)
        if _is_random(data[at : at + _STEP])
        and repeated.isdisjoint(data[n : n + _BLOCK] for n in range(at, at + _STEP, _BLOCK))
    )


def recognise(plaintext: bytes, judged: Sequence[int]) -> Recognition | None:
    """What the first :data:`LOOKED_AT` bytes of decrypted data are; None for noise.

    ``judged`` are the steps that were random before: what was never written, zeroes, becomes the
    same block over and over in some modes, under any key.
    """
    name = _name_of(plaintext)
    clear = sum(not _is_random(plaintext[at : at + _STEP]) for at in judged)
    if name is None and clear < _CLEAR_MIN:
        return None
    return Recognition(name, clear, len(judged), len(zlib.compress(plaintext, 1)))


def may_be_named(plaintext: bytes | bytearray) -> bool:
    """Whether a magic lies where :func:`recognise` looks for one: all that is named has one."""
    return any(plaintext.startswith(magic, at) for at, magic in _MAGICS)


def is_noise(plaintext: bytes | bytearray) -> bool:
    """Whether fewer steps are not random than :func:`recognise` wants without a name."""
    steps = (plaintext[at : at + _STEP] for at in range(0, len(plaintext), _STEP))
    return sum(not _is_random(each) for each in steps) < _CLEAR_MIN


def _is_random(step: bytes | bytearray) -> bool:
    return len(set(step)) >= _VALUES_MIN


def _name_of(data: bytes) -> str | None:
    for name, is_there in _CHECKS:
        if is_there(data):
            return name
    storage = MemoryStorage(data, writable=False)
    names = (each.name for each in find_signatures(storage))
    return next((name for name in names if not name.startswith(_WEAK)), None)


def _number(data: bytes, offset: int, form: str) -> int:
    """A number of the layout; 0 where the bytes end before it."""
    size = struct.calcsize(form)
    piece = data[offset : offset + size]
    return int(struct.unpack(form, piece)[0]) if len(piece) == size else 0


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def _is_ext(data: bytes) -> bool:
    """fs/ext4/ext4.h struct ext4_super_block, at 1024."""
    return (
        data[1080:1082] == b"\x53\xef"
        and _number(data, 1024, "<I") > 0  # s_inodes_count
        and _number(data, 1028, "<I") > 0  # s_blocks_count_lo
        and _number(data, 1048, "<I") <= 6  # s_log_block_size
        and _number(data, 1082, "<H") <= 7  # s_state
        and 1 <= _number(data, 1084, "<H") <= 3  # s_errors
        and _number(data, 1096, "<I") <= 4  # s_creator_os
        and _number(data, 1100, "<I") <= 1  # s_rev_level
    )


def _is_xfs(data: bytes) -> bool:
    """fs/xfs/libxfs/xfs_format.h struct xfs_dsb."""
    block, sector = _number(data, 4, ">I"), _number(data, 102, ">H")
    return (
        data[:4] == b"XFSB"
        and _is_power_of_two(block)
        and _is_power_of_two(sector)
        and 512 <= sector <= block <= 1 << 16
    )


def _is_fat(data: bytes) -> bool:
    """Microsoft, FAT: general overview of on-disk format 1.03, the boot sector."""
    return (
        data[510:512] == b"\x55\xaa"
        and data[:1] in (b"\xeb", b"\xe9")
        and _number(data, 11, "<H") in (512, 1024, 2048, 4096)
        and _is_power_of_two(_number(data, 13, "B"))
        and _number(data, 14, "<H") > 0
        and _number(data, 16, "B") in (1, 2)
        and _number(data, 21, "B") >= 0xF0
    )


def _is_gpt(data: bytes) -> bool:
    """UEFI 2.10, 5.3.2: the header's own checksum."""
    return any(_is_gpt_header(data[at : at + 512]) for at in (512, 4096))


def _is_gpt_header(header: bytes) -> bool:
    size = _number(header, 12, "<I")
    if not header.startswith(b"EFI PART") or not 92 <= size <= len(header):
        return False
    blanked = header[:16] + bytes(4) + header[20:size]
    return zlib.crc32(blanked) == _number(header, 16, "<I")


def _is_mbr(data: bytes) -> bool:
    """Four entries: none but one is active, and at least one has a type and a place."""
    entries = [data[at : at + 16] for at in range(446, 510, 16)]
    used = [each for each in entries if any(each)]
    return (
        data[510:512] == b"\x55\xaa"
        and bool(used)
        and all(each[:1] in (b"\0", b"\x80") and each[4:5] != b"\0" for each in used)
        and all(_number(each, 8, "<I") and _number(each, 12, "<I") for each in used)
    )


def _is_squashfs(data: bytes) -> bool:
    """fs/squashfs/squashfs_fs.h struct squashfs_super_block."""
    block = _number(data, 12, "<I")
    return (
        data[:4] == b"hsqs"
        and _number(data, 28, "<H") == 4
        and _is_power_of_two(block)
        and 1 << _number(data, 22, "<H") == block
    )


def _is_luks(data: bytes) -> bool:
    return data[:6] == b"LUKS\xba\xbe" and data[6:8] in (b"\0\1", b"\0\2")


_CHECKS: Final[tuple[tuple[str, Callable[[bytes], bool]], ...]] = (
    ("ext2/3/4 file system", _is_ext),
    ("XFS file system", _is_xfs),
    ("FAT file system", _is_fat),
    ("GPT partition table", _is_gpt),
    ("MBR partition table", _is_mbr),
    ("SquashFS file system", _is_squashfs),
    ("LUKS header", _is_luks),
)

_MAGICS: Final = tuple(
    dict.fromkeys(
        (at, magic)
        for at, magic in (*((each, magic) for _, each, magic in SIGNATURES), (510, b"\x55\xaa"))
        if any(start <= at < end for start, end in WINDOWS)
    )
)
