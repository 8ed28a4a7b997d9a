"""``crypt CIPHER KEY IV_OFFSET DEVICE OFFSET [OPTIONS]`` (drivers/md/dm-crypt.c: crypt_ctr)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from luksmeta.dm.areas import Piece
from luksmeta.dm.arguments import Arguments
from luksmeta.dm.devices import Devices
from luksmeta.dm.table import TableLine
from luksmeta.errors import AlgorithmError
from luksmeta.model import SECTOR_SIZE
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector import engine
from luksmeta.segment import SegmentRun
from luksmeta.segment_stream import SegmentStream
from luksmeta.sizes import counted
from luksmeta.storage import Storage

NO_KEY: Final = "-"
LARGE_IV: Final = "iv_large_sectors"
FLAGS: Final[tuple[str, ...]] = (  # how requests are queued, which changes no byte
    "allow_discards",
    "same_cpu_crypt",
    "high_priority",
    "submit_from_crypt_cpus",
    "no_read_workqueue",
    "no_write_workqueue",
)

_OPTIONS_MAX: Final = 16  # a bound of ours
_KEY_DIGITS_MAX: Final = 2 * 2304  # a bound of ours: serpent:64-cbc-lmk has 65 keys of 32 bytes
_IV_OFFSET_MAX: Final = (1 << 63) - 1  # a bound of ours: sectors behind it are counted in 64 bits
_KEYRING: Final = re.compile(r":[0-9]+:[^:]*:.+")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_SECTOR_SIZE: Final = re.compile(r"sector_size:([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class CryptOptions:
    """The optional parameters; ``flags`` are those that change no byte, as they were written."""

    flags: tuple[str, ...] = ()
    sector_size: int = SECTOR_SIZE
    iv_large_sectors: bool = False

    def words(self) -> tuple[str, ...]:
        """The parameters behind their count, in the kernel's own order; none for defaults."""
        words: list[str] = [name for name in FLAGS if name in self.flags]
        if self.sector_size != SECTOR_SIZE:
            words.append(f"sector_size:{self.sector_size}")
        if self.iv_large_sectors:
            words.append(LARGE_IV)
        return (str(len(words)), *words) if words else ()


@dataclass(frozen=True, slots=True)
class CryptLine:
    """What a crypt line says; ``key`` is its word: hex, ``-``, or the name of a kernel key.

    ``iv_offset`` and ``start`` are in sectors of 512 bytes.
    """

    cipher: str
    key: str
    iv_offset: int
    device: str
    start: int
    options: CryptOptions

    @classmethod
    def parse(cls, line: TableLine) -> CryptLine:
        """The arguments of a line; TableError for what the kernel refuses, or what is unknown."""
        arguments = Arguments(line, has_key=True)
        found = cls(
            cipher=arguments.word("the cipher"),
            key=arguments.word("the key"),
            iv_offset=arguments.number("the IV offset", most=_IV_OFFSET_MAX),
            device=arguments.word("the device"),
            start=arguments.number("the offset"),
            options=_options(arguments),
        )
        arguments.end()
        found._check(line)
        return found

    def _check(self, line: TableLine) -> None:
        unit = self.options.sector_size // SECTOR_SIZE
        for what, sectors in (
            ("argument 3, the IV offset,", self.iv_offset),
            ("argument 5, the offset,", self.start),
            (f"length {line.length}", line.length),
        ):
            if sectors % unit:
                raise line.error(f"{what} is no multiple of {unit}, the sectors in a unit")

    def line(self, start: int, length: int) -> TableLine:
        """The line that says this, for ``length`` sectors from ``start`` on."""
        place = (str(self.iv_offset), self.device, str(self.start))
        return TableLine(
            start, length, "crypt", (self.cipher, self.key, *place, *self.options.words())
        )

    def __repr__(self) -> str:
        return f"<CryptLine {self.cipher} on {self.device}>"


class CryptStorage(Storage):
    """The plaintext of a run of encrypted sectors; owns the cipher, and the part of the device."""

    def __init__(self, device: Storage, run: SegmentRun) -> None:
        super().__init__(f"crypt on {device.name}", writable=device.writable)
        self._device = device
        self._stream = SegmentStream(device, (run,), writable=device.writable)

    @property
    def size(self) -> int:
        """That of the ciphertext."""
        return self._stream.size

    def _read(self, offset: int, size: int) -> bytes:
        return self._stream.read_at(offset, size)

    def _read_into(self, offset: int, buffer: memoryview) -> int:
        self._stream.read_into_at(offset, buffer)
        return len(buffer)

    def _write(self, offset: int, data: BytesLike) -> None:
        self._stream.write_at(offset, data)

    def below(self, offset: int, size: int) -> Iterator[Piece]:
        """The ciphertext."""
        yield self._device, offset, size

    def flush(self) -> None:
        """Flush the device."""
        self._device.flush()

    def close(self) -> None:
        """Wipe the cipher's key; harmless when repeated."""
        self._stream.close()
        self._device.close()


def open_crypt(line: TableLine, devices: Devices) -> Storage:
    """The plaintext; TableError also for a cipher that is not available here."""
    crypt = CryptLine.parse(line)
    devices.require(line, crypt.device, "argument 4, the device")
    device = devices.part(line, crypt.device, crypt.start, line.length)
    options = crypt.options
    try:
        with read_key(line, crypt.key) as key:
            cipher = engine.create(
                crypt.cipher, key, options.sector_size, large_iv=options.iv_large_sectors
            )
    except AlgorithmError as error:
        device.close()
        raise line.error(
            f"argument 1: this {error.kind} is not available here with a key of "
            f"{counted(len(crypt.key) // 2, 'byte')}"
        ) from None  # its text has words of the line
    run = SegmentRun(0, device.size, 0, options.sector_size, crypt.iv_offset, cipher)
    return CryptStorage(device, run)


def read_key(line: TableLine, word: str) -> SecretBytes:
    """The key that a line has in hex; TableError for one that is in a kernel's keyring."""
    if _KEYRING.fullmatch(word):
        raise line.error(
            "argument 2: the key is in a kernel's keyring, which nobody can read; here a table "
            "needs its key in hex"
        )
    if word == NO_KEY:
        return SecretBytes(0)
    if len(word) > _KEY_DIGITS_MAX or not _HEX.fullmatch(word):
        raise line.error(f"argument 2, the key, is no hex of up to {_KEY_DIGITS_MAX} digits")
    return SecretBytes(bytes.fromhex(word))


def _options(arguments: Arguments) -> CryptOptions:
    """The optional parameters, which start with argument 7."""
    flags, sector_size, is_large = [], SECTOR_SIZE, False
    for number, word in enumerate(arguments.group("optional parameters", _OPTIONS_MAX), start=7):
        what = f"argument {number}, an optional parameter"
        if match := _SECTOR_SIZE.fullmatch(word):
            sector_size = int(match[1])
            if sector_size not in engine.SECTOR_SIZES:
                sizes = ", ".join(map(str, engine.SECTOR_SIZES))
                raise arguments.error(f"{what}: a sector size that is none of {sizes}")
        elif word == LARGE_IV:
            is_large = True
        elif word in FLAGS:
            flags.append(word)
        elif word.startswith("integrity"):
            raise arguments.error(f"{what}: data with integrity tags cannot be read here")
        else:
            raise arguments.error(f"{what}, is not known")
    return CryptOptions(tuple(flags), sector_size, is_large)
