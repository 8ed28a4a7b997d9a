"""Keyslots gone for good, and with them the data: of a volume, or everything that a header is."""

from __future__ import annotations

from luksmeta import key_management
from luksmeta.extents import Extent
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks1.partition_header import FIRST_AREA, area_size
from luksmeta.write_plan import Barrier, Fill, Step, WritePlan


def erase(header: Header) -> list[HeaderChange]:
    """Every keyslot that opens the volume removed, one after another, as cryptsetup does it."""
    return key_management.remove_all(header, sorted(header.metadata.bound_keyslots))


def erase_everything(header: Header) -> list[HeaderChange]:
    """All key material and then the header wiped; the change's header is the last there was.

    The areas go first: what a crash leaves is a header by which the rest can be erased.
    """
    steps: list[Step] = [
        Fill(area, "keyslots area wiped", random=True) for area in _key_material(header)
    ]
    wiped = Fill(Extent(0, _header_end(header)), "header wiped", random=False)
    steps += [Barrier(), wiped, Barrier()]
    return [HeaderChange(WritePlan.of("erase everything", steps), header)]


def _key_material(header: Header) -> list[Extent]:
    """Where keyslots are or were: in LUKS1 not what lies between far-away areas."""
    if not isinstance(header, Luks1Header):
        return [header.metadata.keyslots_area]
    size = area_size(header.record.key_bytes)
    return [Extent(offset, size) for offset in sorted(header.offsets.values())]


def _header_end(header: Header) -> int:
    """Where the first area may begin; in LUKS1 it may lie anywhere behind."""
    areas_start = header.metadata.keyslots_area.offset
    return min(areas_start, FIRST_AREA) if isinstance(header, Luks1Header) else areas_start
