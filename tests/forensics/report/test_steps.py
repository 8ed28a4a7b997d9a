"""What heat maps and hex views show: the very bytes."""

from __future__ import annotations

from pathlib import Path

import luksmeta
from luksmeta.extents import Extent
from luksmeta.forensics.report.excerpts import Field, damages_left_out, excerpts_of
from luksmeta.forensics.report.heat import heat_map
from luksmeta.forensics.report.hexview import hex_view
from luksmeta.forensics.report.markup import html
from luksmeta.forensics.report.reads import KeptReads, Read, widest
from luksmeta.forensics.report.steps import STEPS_MAX, Heat, StepMap, step_maps
from tests import builders
from tests.builders import FIRST, SECOND, image
from tests.corpus import stream
from tests.forensics.report.samples import SLOT, by_class, volume
from tests.storages import UnreadableStorage, UntouchedStorage


def maps(disk: bytes | bytearray) -> list[StepMap]:
    storage = UntouchedStorage(disk)
    return list(step_maps(storage, luksmeta.inspect(storage).regions))


def test_each_step_of_an_area_has_its_heat() -> None:
    disk = bytearray(image("luks2", (FIRST, SECOND)))
    start = SLOT["luks2"]
    disk[start : start + 512] = bytes(512)
    disk[start + 512 : start + 1024] = b"\xa5\x5a" * 256
    disk[start + 1024 : start + 1536] = b"words, words, no more than words" * 16
    disk[start + 1536 : start + 2048] = (b"abcdefghijklmnopqrstuvwxyz0123456789+/" * 14)[:512]
    disk[start + 2048 : start + 2560] = bytes(range(256)) * 2
    first, second = maps(disk)
    assert list(first.heats[:6]) == [
        Heat.ZERO, Heat.PATTERN, Heat.PATTERN, Heat.PATTERN, Heat.HIGH, Heat.RANDOM
    ]  # fmt: skip
    assert first.area == Extent(start, 0x20000)
    assert first.material == Extent(start, 128000)
    assert set(second.heats[:250]) == {Heat.RANDOM}
    assert len(second.heats) == 0x100


def test_text_and_code_are_between_zero_and_random() -> None:
    disk = bytearray(image("luks2", (FIRST, SECOND)))
    start, text = SLOT["luks2"], Path(__file__).read_bytes()
    disk[start : start + 1024] = text[:1024]
    disk[start + 1024 : start + 1536] = (b"aab" * 100 + bytes(range(20)) * 11)[:512]
    heats = list(maps(disk)[0].heats[:3])
    assert heats == [Heat.MIDDLE, Heat.MIDDLE, Heat.LOW]


def test_what_cannot_be_read_has_a_heat_of_its_own() -> None:
    storage = UnreadableStorage(image("luks2", (FIRST, SECOND)), range(0x8400, 0x8600))
    first, _ = step_maps(storage, luksmeta.inspect(storage).regions)
    assert [Heat(each) for each in first.heats[1:4]] == [
        Heat.RANDOM, Heat.UNREADABLE, Heat.RANDOM
    ]  # fmt: skip


def test_luks1_has_a_map_for_each_place_of_a_keyslot() -> None:
    found = maps(image("luks1", (FIRST, SECOND)))
    assert len(found) == 8
    assert [each.material is None for each in found] == [False] * 2 + [True] * 6


def test_neighbours_are_one_rectangle_and_damage_has_an_outline() -> None:
    heats = bytes([Heat.RANDOM] * 60 + [Heat.ZERO] * 8 + [Heat.RANDOM] * 20)
    svg = heat_map(StepMap("k", Extent(0, 88 * 512), Extent(0, 80 * 512), heats))
    kinds = [each.get("class") for each in svg.iter("rect")]
    assert kinds == ["h5", "h0", "h0", "h5", "h5 slack", "damaged", "damaged"]
    assert len(by_class(svg, "offset")) == 2


def test_the_worst_area_keeps_to_a_bound() -> None:
    noise = bytes(each % 6 for each in stream("heat", STEPS_MAX))
    text = html(heat_map(StepMap("k", Extent(0, STEPS_MAX * 512), None, noise)))
    assert len(text) < 600_000


def test_headers_are_shown_with_all_their_fields() -> None:
    storage = UntouchedStorage(image("luks2", (FIRST, SECOND)))
    primary, secondary = excerpts_of(storage, luksmeta.inspect(storage))
    assert (primary.extent, secondary.extent) == (Extent(0, 4096), Extent(0x4000, 4096))
    assert [each.name for each in primary.fields] == [
        "magic", "version", "hdr_size", "seqid", "label", "csum_alg", "salt", "uuid", "subsystem",
        "hdr_offset", "csum",
    ]  # fmt: skip
    assert Field("hdr_offset", Extent(256, 8), 0x4000) in secondary.fields
    assert Field("magic", Extent(0, 6)) in primary.fields


def test_the_keyslots_of_luks1_are_fields() -> None:
    storage = UntouchedStorage(image("luks1", (FIRST, SECOND)))
    (header,) = excerpts_of(storage, luksmeta.inspect(storage))
    assert len(header.fields) == 11 + 8 * 5
    assert Field("keyslot 1: active", Extent(208 + 48, 4), 0x00AC71F3) in header.fields
    assert header.fields[-1] == Field("keyslot 7: stripes", Extent(588, 4), 4000)


def test_only_the_first_damaged_ranges_are_shown(tmp_path: Path) -> None:
    disk = bytearray(volume(tmp_path, "luks2").read_bytes())
    for step in range(0, 80, 2):
        at = SLOT["luks2"] + step * 512
        disk[at : at + 512] = bytes(512)
    storage = UntouchedStorage(disk)
    inspection = luksmeta.inspect(storage)
    _, _, *damages = excerpts_of(storage, inspection)
    assert len(damages) == 16
    assert damages_left_out(inspection) == 24
    assert damages[1].extent == Extent(SLOT["luks2"] + 1024, 64)


def test_a_hex_view_has_every_byte_that_is_not_like_the_row_before() -> None:
    storage = UntouchedStorage(image("luks2", (FIRST, SECOND)))
    primary, _ = excerpts_of(storage, luksmeta.inspect(storage))
    view = hex_view(primary)
    assert primary.data is not None
    shown = {
        int(next(row.iter("th")).text or "0", 16): "".join(cell.itertext())
        for row in view.iter("tr")
        for cell in row
        if cell.get("class") == "bytes"
    }
    for at, text in shown.items():
        assert bytes.fromhex(text) == primary.data[at : at + 16]
    hidden = [at for at in range(0, 4096, 16) if at not in shown]
    assert all(not any(primary.data[at : at + 16]) for at in hidden)
    assert "… the same up to 0x1000" in "".join(view.itertext())
    assert f"seqid = {int.from_bytes(primary.data[16:24], 'big')}" in "".join(view.itertext())


def test_bytes_that_cannot_be_read_are_said_to_be_so() -> None:
    storage = UnreadableStorage(builders.image("luks2"), range(0x4000, 0x4200))
    _, secondary = excerpts_of(storage, luksmeta.inspect(storage))
    assert "not readable" in html(hex_view(secondary))


def test_reads_within_others_are_not_shown() -> None:
    reads = [Read("a", Extent(*each), "") for each in ((0, 10), (0, 4), (2, 8), (5, 10), (15, 1))]
    other = Read("b", Extent(1, 1), "")
    assert widest([*reads, other]) == [reads[0], reads[3], reads[4], other]


def test_kept_reads_are_each_there_once() -> None:
    log = KeptReads()
    with log.opened("a", 100) as reads:
        for offset in (10, 0, 10):
            reads.note(offset, b"x" * 5)
    assert [each.extent for each in log.runs()] == [Extent(0, 5), Extent(10, 5)]
