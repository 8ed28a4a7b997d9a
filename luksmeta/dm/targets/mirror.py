"""``mirror LOG COUNT (LOG ARGUMENT)… LEGS (DEVICE OFFSET)… [FEATURES]``: the same on each device.

drivers/md/dm-raid1.c and dm-log.c. The kernel notes which regions of the legs are equal; a core log
forgets that when the mapping goes, so the next one copies the first leg over the others, unless
``nosync`` says that all are equal already. Here nothing is copied: all is read from the first leg,
and only legs that are known to be equal stand in for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from luksmeta.dm.areas import Piece
from luksmeta.dm.arguments import Arguments
from luksmeta.dm.devices import Devices
from luksmeta.dm.table import TableLine
from luksmeta.errors import StorageError
from luksmeta.secret import BytesLike
from luksmeta.storage import Storage

_LEGS_MAX: Final = 9  # DM_RAID1_MAX: DM_KCOPYD_MAX_REGIONS and the source
_LOG_ARGUMENTS_MAX: Final = 16  # a bound of ours
_POWER: Final = re.compile(r"[0-9]{1,10}")
_FEATURES: Final = frozenset({"handle_errors", "keep_log"})
_LOG_WORDS: Final = frozenset({"sync", "nosync", "block_on_error"})


class MirrorStorage(Storage):
    """Legs of one size; ``are_equal`` says that each may stand in for the first."""

    def __init__(self, legs: Sequence[Storage], *, are_equal: bool) -> None:
        super().__init__("mirror", writable=all(each.writable for each in legs))
        self._legs = legs
        self._are_equal = are_equal

    @property
    def size(self) -> int:
        """That of each leg."""
        return self._legs[0].size

    def _read(self, offset: int, size: int) -> bytes:
        try:
            return self._legs[0].read_at(offset, size)
        except StorageError as error:
            if not self._are_equal:
                error.advise("where the mirror's log says nosync, another leg is read")
                raise
            return self._read_others(offset, size, error)

    def _read_others(self, offset: int, size: int, first: StorageError) -> bytes:
        """What a leg that can be read has there; the first leg's error where none can."""
        for leg in self._legs[1:]:
            try:
                return leg.read_at(offset, size)
            except StorageError:  # the next one may do
                continue
        raise first

    def _write(self, offset: int, data: BytesLike) -> None:
        """Write every leg, also when one fails; its error is raised at the end."""
        self._on_every_leg(lambda leg: leg.write_at(offset, data))

    def flush(self) -> None:
        """Flush every leg."""
        self._on_every_leg(Storage.flush)

    def below(self, offset: int, size: int) -> Iterator[Piece]:
        """The bytes of every leg."""
        for leg in self._legs:
            yield leg, offset, size

    def close(self) -> None:
        """Give back the legs; harmless when repeated."""
        for leg in self._legs:
            leg.close()

    def _on_every_leg(self, act: Callable[[Storage], None]) -> None:
        failed: list[StorageError] = []
        for leg in self._legs:
            try:
                act(leg)
            except StorageError as error:  # the others must be equal
                failed.append(error)
        if failed:
            raise failed[0]


def open_mirror(line: TableLine, devices: Devices) -> Storage:
    """The legs, all as long as the target."""
    arguments = Arguments(line)
    kind = arguments.word("the log")
    if kind != "core":
        raise line.error(f"log {kind[:40]!r}; only core can be here")
    are_equal = _are_equal(arguments, arguments.group("log arguments", _LOG_ARGUMENTS_MAX))
    count = arguments.number("the number of legs", 1, _LEGS_MAX)
    places = [
        (arguments.word("a leg's device"), arguments.number("a leg's offset")) for _ in range(count)
    ]
    for feature in arguments.group("features", len(_FEATURES)):
        if feature not in _FEATURES:
            raise line.error(f"feature {feature[:40]!r}, known are {', '.join(sorted(_FEATURES))}")
    arguments.end()
    legs = [devices.part(line, name, start, line.length) for name, start in places]
    return MirrorStorage(legs, are_equal=are_equal)


def _are_equal(arguments: Arguments, log: Sequence[str]) -> bool:
    """Whether the log says that the legs are equal, after a look at all that it says."""
    if not log:
        raise arguments.error("the core log's region size is missing")
    size, *words = log
    if not _POWER.fullmatch(size) or int(size).bit_count() != 1:
        raise arguments.error(f"region size {size[:40]!r}: a power of two is expected")
    for word in words:
        if word not in _LOG_WORDS:
            raise arguments.error(
                f"log argument {word[:40]!r}, known are {', '.join(sorted(_LOG_WORDS))}"
            )
    return "nosync" in words
