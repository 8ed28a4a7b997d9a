"""An inspection as a page for people, 100 columns wide: what ``inspect`` prints."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from luksmeta.binary import c_text
from luksmeta.cli.output import one_line, printable
from luksmeta.cli.page import NAME_WIDTH, Lines, section
from luksmeta.copy_diagnosis import CopyDiagnosis
from luksmeta.diagnosis import Diagnosis
from luksmeta.forensics.copies import CopyContent
from luksmeta.forensics.inspector import Inspection, SegmentStart
from luksmeta.forensics.material import KeyslotCondition
from luksmeta.forensics.randomness import Run, StepState
from luksmeta.forensics.regions import HEADER_KINDS, Region
from luksmeta.forensics.strength import Speed, Strength
from luksmeta.luks1.partition_header import PartitionHeader
from luksmeta.signatures import Signature
from luksmeta.sizes import counted, format_size

_WIDTH: Final = 100
_VALUE_WIDTH: Final = _WIDTH - NAME_WIDTH - 3
_RUNS_SHOWN: Final = 8  # of one region or keyslot
_ROWS_SHOWN: Final = 40  # of violations, differences, hidden members
_STATES_WIDTH: Final = 31
_VALUE_SHOWN: Final = 60
_STATES: Final = {
    StepState.ZERO: "zero",
    StepState.PATTERN: "a pattern",
    StepState.RANDOM: "random",
    StepState.OTHER: "other data",
    StepState.UNREADABLE: "unreadable",
}


def render(inspection: Inspection) -> str:
    """The page."""
    version = inspection.diagnosis.version
    title = f"LUKS{version} header" if version else "No LUKS header in its place"
    sections = [section(f"{title}  {inspection.name}", _summary(inspection))]
    sections += [section(title, lines) for title, lines in _copies(inspection)]
    sections += _lists(inspection)
    return "\n\n".join(each for each in sections if each)


def _lists(inspection: Inspection) -> Iterator[str]:
    yield _list("Damage", _damaged_ranges(inspection))
    yield _list("Differences between the copies", _differences(inspection))
    yield _list("Broken and odd rules", _violations(inspection.diagnosis))
    yield _rows("Map", _map(inspection.regions))
    for keyslot_id, condition in inspection.keyslots.items():
        strength = inspection.strengths.get(keyslot_id)
        yield section(f"Keyslot {keyslot_id}", _keyslot(condition, strength))
    yield _list("Random data of a key's size that no keyslot claims", _leftovers(inspection))
    if inspection.segments:
        yield section("Data", _segments(inspection.segments))
    yield _list("What luksDump does not show", _hidden(inspection))
    yield _list("Hints of its past", _hints(inspection))


def _list(title: str, rows: Iterable[str]) -> str:
    """A section of rows without names; nothing where there are none."""
    shown = list(rows)
    more = len(shown) - _ROWS_SHOWN
    if more > 0:
        shown[_ROWS_SHOWN:] = [f"… and {more} more; --json has them all"]
    return _rows(title, (line for row in shown for line in _wrapped(one_line(row), _WIDTH - 2)))


def _rows(title: str, rows: Iterable[str]) -> str:
    shown = [f"  {printable(row)}" for row in rows]
    return "\n".join((section(title, ()), *shown)) if shown else ""


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)


def _text(text: str) -> str:
    """A sentence as lines beside a name."""
    return "\n".join(textwrap.wrap(one_line(text), _VALUE_WIDTH, break_on_hyphens=False))


# --- header and copies ---------------------------------------------------------------------------


def _summary(inspection: Inspection) -> Lines:
    metadata = inspection.metadata
    yield "Size", f"{counted(inspection.size, 'byte')} ({inspection.size:#x})"
    yield "State", _text(inspection.diagnosis.reason)
    yield "Shown here", inspection.source
    if metadata is not None:
        yield "UUID", metadata.uuid or "(none)"
        yield "Keyslots area", str(metadata.keyslots_area)
        yield "Flags", ", ".join(metadata.config.flags) or "(none)"
        yield "Requirements", ", ".join(metadata.config.requirements) or "(none)"
    if inspection.signatures:
        yield "Foreign", _signatures(inspection.signatures)


def _copies(inspection: Inspection) -> Iterator[tuple[str, Lines]]:
    if inspection.partition_header is not None:
        yield "Partition header", _partition_header(inspection.partition_header)
    contents = {each.copy: each for each in inspection.copies}
    for diagnosed in () if inspection.partition_header else inspection.diagnosis.copies:
        content = contents.get(diagnosed.copy)
        offset = content.offset if content else diagnosed.offset
        place = "" if offset is None else f" at {offset:#x}"
        yield f"{str(diagnosed.copy).capitalize()} copy{place}", _copy(diagnosed, content)


def _copy(diagnosed: CopyDiagnosis, content: CopyContent | None) -> Lines:
    problem = "" if diagnosed.error is None else f": {diagnosed.error}"
    yield "State", _text(f"{diagnosed.condition}{problem}")
    if content is None:
        return
    record = content.record
    magic = "right" if content.has_magic else f"gone, {record.magic.hex()} is in its place"
    yield "Magic", magic
    yield "Checksum", _checksum(content)
    yield "Epoch", f"{record.seqid} (seqid)"
    yield "Sizes", f"hdr_size {record.hdr_size:#x}, hdr_offset {record.hdr_offset:#x}"
    names = (c_text(each) or "(none)" for each in (record.uuid, record.label, record.subsystem))
    yield "Names", _text("UUID {}, label {}, subsystem {}".format(*names))
    yield "Salt", f"{record.salt[:32].hex()}\n{record.salt[32:].hex()}"
    error = content.json_error
    state = "sound JSON" if error is None else f"no JSON: {error}"
    yield "JSON text", _text(f"{counted(len(content.json_text), 'byte')}, {state}")
    yield "SHA-256", f"{content.sha256} (all of the copy)"


def _checksum(content: CopyContent) -> str:
    algorithm = c_text(content.record.csum_alg)[:16]
    if content.has_right_checksum:
        return f"right, {algorithm} {content.record.csum.hex()[:32]}…"
    if content.computed_csum is None:
        return f"by {algorithm!r}, which is not known"
    computed, stored = content.computed_csum.hex()[:32], content.record.csum.hex()[:32]
    return f"wrong: {algorithm} is {computed}…\nstored is {stored}…"


def _partition_header(record: PartitionHeader) -> Lines:
    cipher, mode = c_text(record.cipher_name), c_text(record.cipher_mode)
    yield (
        "Cipher",
        _text(f"{cipher}-{mode}, {8 * record.key_bytes}-bit key, {c_text(record.hash_spec)}"),
    )
    yield "Data", f"at sector {record.payload_offset}"
    yield "Digest", f"{record.mk_digest.hex()}, {counted(record.mk_digest_iter, 'iteration')}"
    yield "Digest salt", record.mk_digest_salt.hex()
    for keyslot_id, each in enumerate(record.keyslot_records()):
        state = "active" if each.is_active else f"{each.active:#x}"
        place = f"sector {each.key_material_offset}, {counted(each.stripes, 'stripe')}"
        yield f"Entry {keyslot_id}", f"{state}, {counted(each.iterations, 'iteration')}, {place}"


def _damaged_ranges(inspection: Inspection) -> Iterator[str]:
    for each in inspection.damage:
        yield f"{each.extent}  {each.place}, {each.certainty}"


def _differences(inspection: Inspection) -> Iterator[str]:
    for each in inspection.differences:
        yield f"{each.path}: {_value(each.one)} -> {_value(each.other)}"


def _violations(diagnosis: Diagnosis) -> Iterator[str]:
    for copy, violation in diagnosis.all_violations():
        where = "" if copy is None or diagnosis.version == 1 else f"{copy}: "
        yield f"{violation.severity}: {where}{violation.text} ({violation.rule})"


# --- the map -------------------------------------------------------------------------------------


def _map(regions: Iterable[Region]) -> Iterator[str]:
    for region in regions:
        extent = region.place.extent
        place = f"{extent.offset:#11x}..{extent.end:<#11x} {extent.size:>10}"
        yield f"{place}  {region.place.name:30} {_states(region)}"
        if len(region.runs) > 1 and region.place.kind not in HEADER_KINDS:
            yield from map(_indented, _shown(region.runs))
        for each in region.signatures:
            yield _indented(f"signature: {each}")
        if region.examined < extent.size:
            yield _indented(f"{format_size(extent.size - region.examined)} of it not looked at")


def _states(region: Region) -> str:
    states = ", ".join(_STATES[state] for state in region.states) or "not there"
    return states if len(states) <= _STATES_WIDTH else "all kinds"


def _indented(run: Run | str) -> str:
    return f"{'':36}{run if isinstance(run, str) else _run(run)}"


def _shown(runs: tuple[Run, ...]) -> Iterator[Run | str]:
    yield from runs[:_RUNS_SHOWN]
    if len(runs) > _RUNS_SHOWN:
        yield f"… and {len(runs) - _RUNS_SHOWN} more"


def _run(run: Run) -> str:
    if run.chi_square is None or run.state in (StepState.ZERO, StepState.RANDOM):
        return f"{run.extent}: {_STATES[run.state]}"
    return f"{run.extent}: {_STATES[run.state]}, {run.sample[:8].hex()}…"


def _signatures(signatures: Iterable[Signature]) -> str:
    return "\n".join(map(str, signatures))


# --- keyslots, data, the rest --------------------------------------------------------------------


def _keyslot(condition: KeyslotCondition, strength: Strength | None) -> Lines:
    yield "Key material", _text(condition.text)
    if condition.damage:
        yield "Damage", "\n".join(_damage(each) for each in _shown(condition.damage))
    if strength is None:
        return
    yield "Cost of a guess", _text(strength.remark)
    for speed in strength.speeds:
        yield "Guesses", _speed(speed, strength.entropies)


def _damage(run: Run | str) -> str:
    if isinstance(run, str) or run.chi_square is None or run.entropy is None:
        return run if isinstance(run, str) else _run(run)
    figures = f"chi-square {run.chi_square[1]:.0f}, entropy {run.entropy[0]:.2f}"
    return f"{_run(run)} ({figures})"


def _speed(speed: Speed, entropies: Iterable[float]) -> str:
    years = ", ".join(f"{bits:g} bits {_number(speed.years(bits))} years" for bits in entropies)
    first = f"{_number(speed.guesses_per_second)} a second: {speed.machine} ({speed.basis})"
    return f"{first}\n{_text(years)}"


def _number(number: float) -> str:
    """Three digits, as people read them."""
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if 100 <= rounded < 1e12 else f"{rounded:.3g}"


def _leftovers(inspection: Inspection) -> Iterator[str]:
    if inspection.leftovers:
        yield "(cryptsetup fills all areas when it formats, and those of keyslots that it removes)"
    for each in inspection.leftovers:
        yield f"{each.extent} ({format_size(each.extent.size)}), {each.place}"


def _segments(segments: Iterable[SegmentStart]) -> Lines:
    for each in segments:
        begins = ", then ".join(dict.fromkeys(_STATES[run.state] for run in each.runs))
        size = "to the end" if each.size is None else format_size(each.size)
        state = f"begins with: {begins}" if begins else "not there"
        yield f"Segment {each.segment_id}", f"{each.type} at {each.offset:#x}, {size}; {state}"


def _hidden(inspection: Inspection) -> Iterator[str]:
    for each in inspection.hidden:
        yield f"{each.path}: {each.why}: {_value(each.value)}"


def _hints(inspection: Inspection) -> Iterator[str]:
    for each in inspection.hints:
        yield f"{each.certainty}: {each.text} ({each.basis})"


def _value(value: object) -> str:
    text = "(none)" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_SHOWN else f"{text[:_VALUE_SHOWN]}…"
