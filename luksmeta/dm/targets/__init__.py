"""The targets of device-mapper tables, which :mod:`luksmeta.dm.mapped_device` finds by name."""
