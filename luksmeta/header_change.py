"""A change of a header, as a value: what is written, and the header that holds afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from luksmeta.errors import KeyslotError
from luksmeta.header import Header
from luksmeta.model import Metadata
from luksmeta.sizes import counted
from luksmeta.write_plan import Barrier, Write, WritePlan


@dataclass(frozen=True, slots=True)
class HeaderChange:
    """A plan, and the header that the device holds once it has been applied."""

    plan: WritePlan
    header: Header


def reword(header: Header, metadata: Metadata, what: str) -> HeaderChange:
    """A change of the header alone: no keyslot's area is touched."""
    after = header.updated(metadata)
    return HeaderChange(WritePlan.of(what, after.steps()), after)


def stored(
    after: Header, keyslot_id: int, material: bytes, what: str | None = None
) -> HeaderChange:
    """Key material in the place that the header ``after`` names, and then that header.

    Raises KeyslotError for an area that does not hold it.
    """
    area = after.metadata.keyslots[keyslot_id].area.extent
    if len(material) > area.size:
        raise KeyslotError(
            f"keyslot {keyslot_id}: area of {counted(area.size, 'byte')}, its key needs "
            f"{len(material)}"
        )
    write = Write(area.offset, material, f"keyslot {keyslot_id} area")
    steps = (write, Barrier(), *after.steps())
    return HeaderChange(WritePlan.of(what or f"store keyslot {keyslot_id}", steps), after)
