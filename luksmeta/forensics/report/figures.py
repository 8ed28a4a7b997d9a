"""Maps of a device and of its header, to scale, as SVG.

A figure is a stack of bars, each a part of the one above it, drawn larger. What is damaged is red
and hatched, so that it shows without colour too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from xml.etree.ElementTree import Element

from luksmeta.extents import Extent
from luksmeta.forensics.inspector import Inspection
from luksmeta.forensics.randomness import StepState
from luksmeta.forensics.regions import Place, Region, RegionKind
from luksmeta.forensics.report.exhibit import Exhibit
from luksmeta.forensics.report.markup import tag
from luksmeta.header_copies import CopyCondition
from luksmeta.luks1.partition_header import SIZE as _LUKS1_SIZE
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from luksmeta.sizes import format_size

WIDTH: Final = 800.0
_BAR: Final = 34.0
_TITLE: Final = 18.0
_TICKS: Final = 20.0
_ZOOM: Final = 26.0
_SPACE: Final = 8.0
_MARGIN: Final = 1.0
_LETTER: Final = 6.6  # width of one, of 11 units height
_LEAST: Final = 1.2  # what is narrower is drawn that wide, or it could not be seen
_ZOOM_BELOW: Final = 0.6  # a part that takes less of its bar gets one of its own
_BLOCKS_MAX: Final = 2000

Scale = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Block:
    """A range with a purpose: the class of its colour, its name, and what fits into little."""

    kind: str
    name: str
    extent: Extent
    short: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A window onto the device, and what lies in it, the last drawn on top."""

    title: str
    window: Extent
    blocks: tuple[Block, ...]
    is_logarithmic: bool = False

    def scale(self) -> Scale:
        """From offsets to horizontal places."""
        inner = WIDTH - 2 * _MARGIN
        start, size = self.window.offset, max(self.window.size, 1)
        if self.is_logarithmic:
            whole = math.log2(1 + size / 512)
            return lambda at: _MARGIN + inner * math.log2(1 + max(at - start, 0) / 512) / whole
        return lambda at: _MARGIN + inner * (at - start) / size


def disk_figure(exhibit: Exhibit) -> Element:
    """The whole device: header and data, to scale and by the logarithm of the offset."""
    blocks = tuple(_disk_blocks(exhibit))
    window = Extent(0, exhibit.data_size)
    size = format_size(exhibit.data_size)
    bars = (
        Bar(f"The whole device, {size}, to scale", window, blocks),
        Bar("The same by the logarithm of the offset", window, blocks, is_logarithmic=True),
    )
    return _figure("Map of the device", bars, is_zoom=False)


def header_figure(inspection: Inspection) -> Element | None:
    """The header: all of it, what is used of it, and the copies, each to its own scale."""
    if not inspection.regions:
        return None
    blocks = (*map(_block, inspection.regions), *_damage(inspection))[:_BLOCKS_MAX]
    bars = tuple(Bar(title, window, blocks) for title, window in _windows(inspection.regions))
    return _figure("Map of the header", bars, is_zoom=True)


# --- what is in them -----------------------------------------------------------------------------


def _disk_blocks(exhibit: Exhibit) -> Iterator[Block]:
    inspection = exhibit.inspection
    if exhibit.header is None and inspection.regions:
        end = inspection.regions[-1].place.extent.end
        known = inspection.metadata is not None
        name = "header" if known else "no header tells"
        yield Block("header" if known else "unknown", name, Extent(0, end), name)
    for each in inspection.segments:
        size = exhibit.data_size - each.offset if each.size is None else each.size
        end = min(each.offset + size, exhibit.data_size)
        if end > each.offset:
            name = f"segment {each.segment_id}, {each.type[:20]}"
            yield Block("data", name, Extent(each.offset, end - each.offset), name)
    if exhibit.header is None:
        yield from _damage(inspection)


def _block(region: Region) -> Block:
    place = region.place
    short = "" if place.keyslot is None or place.kind is RegionKind.SLACK else str(place.keyslot)
    return Block(str(place.kind), place.name, place.extent, short)


def _damage(inspection: Inspection) -> Iterator[Block]:
    yield from _damaged_copies(inspection)
    for condition in inspection.keyslots.values():
        for run in condition.damage:
            name = f"keyslot {condition.keyslot_id}, {run.extent}: {run.state}"
            yield Block("damage", name, run.extent)
    for region in inspection.regions:
        for run in region.runs:
            if run.state is StepState.UNREADABLE:
                yield Block("damage", f"{run.extent}: not readable", run.extent)


def _damaged_copies(inspection: Inspection) -> Iterator[Block]:
    contents = {each.copy: each for each in inspection.copies}
    for each in inspection.diagnosis.copies:
        if each.condition not in (CopyCondition.DAMAGED, CopyCondition.MISSING):
            continue
        name = f"{each.copy} copy: {each.condition}"
        content = contents.get(each.copy)
        if content is not None:
            yield Block("damage", name, Extent(content.offset, BINARY_HEADER_SIZE))
            if content.document is None:
                yield Block("damage", f"{name}, no JSON", content.json_extent)
        elif each.offset is not None and inspection.has_traces:
            size = BINARY_HEADER_SIZE if inspection.diagnosis.version == 2 else _LUKS1_SIZE
            yield Block("damage", name, Extent(each.offset, size))


def _windows(regions: Sequence[Region]) -> Iterator[tuple[str, Extent]]:
    whole = Extent(0, regions[-1].place.extent.end)
    yield f"Up to the data, {format_size(whole.size)}, to scale", whole
    claimed = _until(regions, lambda each: each.kind not in (RegionKind.GAP, RegionKind.UNKNOWN))
    if 0 < claimed.size < _ZOOM_BELOW * whole.size:
        yield f"What is claimed of it, {format_size(claimed.size)}, to scale", claimed
        whole = claimed
    heads = _until(regions, _is_of_a_copy)
    if 0 < heads.size < _ZOOM_BELOW * whole.size:
        yield f"Its copies and their JSON, {format_size(heads.size)}, to scale", heads


def _until(regions: Iterable[Region], counts: Callable[[Place], bool]) -> Extent:
    """From the start to the end of the last region that counts."""
    ends = (each.place.extent.end for each in regions if counts(each.place))
    return Extent(0, max(ends, default=0))


def _is_of_a_copy(place: Place) -> bool:
    """Of LUKS2: the one header of LUKS1 is too small to be seen larger."""
    is_slack = place.kind is RegionKind.SLACK and place.keyslot is None
    return is_slack or place.kind in (RegionKind.BINARY_HEADER, RegionKind.JSON_TEXT)


# --- drawing -------------------------------------------------------------------------------------


def _figure(title: str, bars: Sequence[Bar], *, is_zoom: bool) -> Element:
    svg = tag("svg", tag("title", title), class_="map", role="img")
    step = _TITLE + _BAR + _TICKS + (_ZOOM if is_zoom else _SPACE)
    if is_zoom:
        pairs = enumerate(pairwise(bars), start=1)
        svg.extend(_zoom(above, below, row * step) for row, (above, below) in pairs)
    svg.extend(_bar(bar, row * step) for row, bar in enumerate(bars))
    svg.set("viewBox", f"0 0 {WIDTH:g} {len(bars) * step:g}")
    return svg


def _zoom(above: Bar, below: Bar, y: float) -> Element:
    """The lines from a part of the bar above to the bar at ``y`` that shows it larger."""
    scale = above.scale()
    top, bottom = y - _TICKS - _ZOOM, y + _TITLE
    left, right = scale(below.window.offset), scale(below.window.end)
    points = f"{left:g},{top:g} {right:g},{top:g} {WIDTH - _MARGIN:g},{bottom:g} "
    return tag("polygon", class_="zoom", points=f"{points}{_MARGIN:g},{bottom:g}")


def _bar(bar: Bar, y: float) -> Element:
    top = y + _TITLE
    scale = bar.scale()
    group = tag("g", tag("text", bar.title, class_="bar-title", x=_MARGIN, y=y + 12))
    for block in bar.blocks:
        start = max(block.extent.offset, bar.window.offset)
        end = min(block.extent.end, bar.window.end)
        if start < end:
            group.extend(_drawn(block, scale(start), scale(end), top))
    frame = tag("rect", class_="frame", x=_MARGIN, y=top, width=WIDTH - 2 * _MARGIN, height=_BAR)
    group.append(frame)
    group.extend(_ticks(bar, top + _BAR))
    return group


def _drawn(block: Block, left: float, right: float, top: float) -> Iterator[Element]:
    width = max(right - left, _LEAST)
    left = min(left, WIDTH - _MARGIN - width)
    tip = tag("title", f"{block.name}: {block.extent}, {format_size(block.extent.size)}")
    kind = f"k-{block.kind}"
    yield tag("rect", tip, class_=kind, x=left, y=top, width=width, height=_BAR)
    label = next((each for each in (block.name, block.short) if _fits(each, width)), "")
    if label and block.kind != "damage":
        middle, base = left + width / 2, top + _BAR / 2 + 4
        yield tag("text", label, class_=f"in {kind}-text", x=middle, y=base)


def _fits(text: str, width: float) -> bool:
    return bool(text) and len(text) * _LETTER + 6 < width


def _ticks(bar: Bar, y: float) -> Iterator[Element]:
    """Offsets below a bar: its ends and quarters, or powers on the logarithmic one."""
    scale, window = bar.scale(), bar.window
    if bar.is_logarithmic:
        powers = range(12, max(window.size, 1).bit_length(), 4)
        places = [window.offset, *(1 << power for power in powers), window.end]
    else:
        places = [window.offset + window.size * quarter // 4 for quarter in range(5)]
    reached = 0.0
    for number, at in enumerate(places):
        label, x = f"{at:#x}", scale(at)
        is_last = number == len(places) - 1
        width = len(label) * _LETTER
        anchor = "start" if not number else "end" if is_last else "middle"
        left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
        room = WIDTH - len(f"{window.end:#x}") * _LETTER - 8
        if number and (left < reached + 6 or (not is_last and left + width > room)):
            continue
        reached = left + width
        yield tag("line", class_="tick", x1=x, x2=x, y1=y, y2=y + 4)
        yield tag("text", label, class_=f"offset {anchor}", x=x, y=y + 15)
