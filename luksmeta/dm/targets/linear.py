"""``linear DEVICE OFFSET``: a run of a device's sectors (drivers/md/dm-linear.c)."""

from __future__ import annotations

from luksmeta.dm.arguments import Arguments
from luksmeta.dm.devices import Devices
from luksmeta.dm.table import TableLine
from luksmeta.storage import Storage


def open_linear(line: TableLine, devices: Devices) -> Storage:
    """The sectors of the device from OFFSET on."""
    arguments = Arguments(line)
    name, start = arguments.word("the device"), arguments.number("the offset")
    arguments.end()
    return devices.part(line, name, start, line.length)
