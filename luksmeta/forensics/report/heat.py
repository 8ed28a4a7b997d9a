"""Heat maps of keyslots' areas: a cell for each 512 bytes, as SVG."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final
from xml.etree.ElementTree import Element

from luksmeta.extents import Extent
from luksmeta.forensics.randomness import STEP
from luksmeta.forensics.report.figures import WIDTH
from luksmeta.forensics.report.markup import tag
from luksmeta.forensics.report.steps import Heat, StepMap

_COLUMNS: Final = 64  # 32 KiB a row
_LEFT: Final = 90.0  # the offsets of the rows
_CELL: Final = (WIDTH - _LEFT - 2) / _COLUMNS
_LEGEND: Final = {
    Heat.RANDOM: "random, as key material is",
    Heat.HIGH: "6.5 bits a byte or more, not random",
    Heat.MIDDLE: "4 to 6.5 bits a byte",
    Heat.LOW: "less than 4 bits a byte",
    Heat.PATTERN: "a pattern, over and over",
    Heat.ZERO: "zero",
    Heat.UNREADABLE: "not readable",
}


def heat_map(step_map: StepMap) -> Element:
    """The map of one area; cells that are not random, and should be, have an outline."""
    rows = -(-len(step_map.heats) // _COLUMNS)
    svg = tag("svg", tag("title", step_map.name), class_="heat", role="img")
    svg.set("viewBox", f"0 0 {WIDTH:g} {rows * _CELL + 2:g}")
    for row in range(rows):
        offset = step_map.area.offset + row * _COLUMNS * STEP
        base = row * _CELL + _CELL - 2
        svg.append(tag("text", f"{offset:#x}", class_="offset end", x=_LEFT - 6, y=base))
    for row in range(rows):
        svg.extend(_row(step_map, row))
    lines = "".join(f"M{_LEFT + n * _CELL:.1f} 1v{rows * _CELL:.1f}" for n in range(1, _COLUMNS))
    svg.append(tag("path", class_="cells", d=lines))
    svg.extend(_outlines(step_map, rows))
    return svg


def legend() -> Element:
    """What the colours mean."""
    items = (
        tag("span", tag("svg", _sample(heat), viewBox="0 0 14 14", class_="sample"), " ", text)
        for heat, text in _LEGEND.items()
    )
    outline = tag("rect", class_="h5 damaged", x=1.5, y=1.5, width=11, height=11)
    sample = tag("svg", outline, viewBox="0 0 14 14", class_="sample")
    mark = tag("span", sample, " outlined: damage, within key material")
    return tag("p", items, mark, class_="legend")


def _sample(heat: Heat) -> Element:
    return tag("rect", class_=f"h{heat.value}", x=1, y=1, width=12, height=12)


def _row(step_map: StepMap, row: int) -> Iterator[Element]:
    """Neighbours of one heat as one rectangle."""
    first = row * _COLUMNS
    cells = range(first, min(first + _COLUMNS, len(step_map.heats)))
    for (heat, is_material), group in groupby(cells, lambda each: _look(step_map, each)):
        run = list(group)
        extent = Extent(step_map.area.offset + run[0] * STEP, len(run) * STEP)
        place = "" if is_material or step_map.material is None else " slack"
        tip = tag("title", f"{extent}: {_LEGEND[heat]}")
        yield tag(
            "rect",
            tip,
            class_=f"h{heat.value}{place}",
            x=_LEFT + (run[0] - first) * _CELL,
            y=row * _CELL + 1,
            width=len(run) * _CELL,
            height=_CELL,
        )


def _outlines(step_map: StepMap, rows: int) -> Iterator[Element]:
    """Around damage, above all else."""
    for row in range(rows):
        first = row * _COLUMNS
        cells = range(first, min(first + _COLUMNS, len(step_map.heats)))
        for is_damage, group in groupby(cells, lambda each: _is_damage(step_map, each)):
            run = list(group)
            if is_damage:
                yield tag(
                    "rect",
                    class_="damaged",
                    x=_LEFT + (run[0] - first) * _CELL,
                    y=row * _CELL + 1,
                    width=len(run) * _CELL,
                    height=_CELL,
                )


def _is_damage(step_map: StepMap, cell: int) -> bool:
    heat, is_material = _look(step_map, cell)
    return is_material and heat is not Heat.RANDOM


def _look(step_map: StepMap, cell: int) -> tuple[Heat, bool]:
    at = step_map.area.offset + cell * STEP
    material = step_map.material
    return Heat(step_map.heats[cell]), material is not None and material.contains(Extent(at, 1))
