"""Every damage of the laboratory: named by `inspect`, undone by `recover`, compared with repair."""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import luksmeta
from luksmeta import PassphraseError
from luksmeta.forensics.inspector import Inspection
from luksmeta.forensics.randomness import looks_random
from luksmeta.forensics.recovery import proving
from luksmeta.kdf import calibrate
from tests.builders import VOLUME_KEY
from tests.cli.runner import done, key_file, refused
from tests.cli.runner import luksmeta as command
from tests.corpus import PROJECT
from tests.forensics.laboratory.case import STEP, Case
from tests.forensics.laboratory.damages import BOTH, DAMAGES, KEYSLOTS, SALTS, Damage
from tests.forensics.laboratory.outcome import (
    HEADING,
    is_the_version_of_the_table,
    opened_by_cryptsetup,
    recovered,
    repaired_by_cryptsetup,
    row,
)
from tests.forensics.laboratory.volumes import (
    CONTENT_SIZE,
    DATA_SIZE,
    KINDS,
    LUKS2,
    MATERIAL,
    PASSPHRASES,
    Kind,
    original,
)
from tests.interop.peers import cryptsetup
from tests.interop.peers.process import Tool
from tests.loop import loop_device

EXAMINED = 64 << 10  # bytes of the data that an inspection looks at
NEW = b"a new passphrase"
README = (PROJECT / "README.md").read_text()
UNSEEN = [each for each in DAMAGES if each.unseen]
CLOSED = [each for each in DAMAGES if not each.opens]
FOUND_BY_TRYING = ("LUKS2: both copies zeroed", "LUKS1: first sector zeroed")
NO_SUPERBLOCK = ("LUKS2: mkfs.vfat", "LUKS2, 64 KiB: mkfs.vfat")
each_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.title)


def test_there_are_sixty_damages_and_each_has_its_name() -> None:
    assert len({each.title for each in DAMAGES}) == len(DAMAGES) >= 60


@pytest.fixture(autouse=True)
def cheap_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new digest costs nothing here: what one should cost is measured for seconds."""
    for module in (calibrate, proving):
        monkeypatch.setattr(module, "digest_iterations", lambda *_: 1000)


# --- inspect -------------------------------------------------------------------------------------


def reported(inspection: Inspection) -> set[int]:
    """The steps in which damage is named."""
    return {
        at
        for each in inspection.damage
        for at in range(each.extent.offset // STEP * STEP, each.extent.end, STEP)
    }


def material_steps(kind: Kind) -> set[int]:
    """The steps of both keyslots' key material."""
    return {at for n in (0, 1) for at in range(kind.slot(n), kind.slot(n) + MATERIAL, STEP)}


def header_steps(kind: Kind) -> set[int]:
    """The steps of the header: both copies, in LUKS2."""
    size = kind.hdr_size if kind.version == "luks1" else 2 * kind.hdr_size
    return set(range(0, size, STEP))


def judgeable(case: Case) -> set[int]:
    """The changed steps that something determines: what lies there shows that it is wrong."""
    kind = case.before.kind
    cut_off = set(range(-(-case.size // STEP) * STEP, kind.areas_end, STEP))
    there = set(case.changed) - cut_off
    clear = {at for at in there & material_steps(kind) if not looks_random(case.step(at))}
    start = there & set(range(kind.data, min(kind.data + EXAMINED, case.size), STEP))
    clear |= {at for at in start if any(case.step(at)) and not looks_random(case.step(at))}
    return clear | there & header_steps(kind) | set(case.changed) & cut_off


@each_damage
def test_inspect_names_the_damage_and_nothing_else(damage: Damage, tmp_path: Path) -> None:
    case = Case.made(damage, tmp_path)
    inspection = luksmeta.inspect(case.disk)
    found = reported(inspection)
    assert found <= case.changed
    if damage.lost == SALTS:  # no text is left that says what lay where
        assert not inspection.has_traces or found & header_steps(damage.kind)
    elif not damage.unseen:
        assert found >= judgeable(case)
    _compare_with_document(case, inspection)


def _compare_with_document(case: Case, inspection: Inspection) -> None:
    answer = command("inspect", case.disk, "--json")
    assert answer.status == (0 if inspection.has_traces else 4)
    document: Any = answer.json
    assert document["damage"] == [each.describe() for each in inspection.damage]
    assert document == json.loads(json.dumps(inspection.describe()))


@pytest.mark.parametrize("damage", UNSEEN, ids=lambda each: each.title)
def test_what_inspect_cannot_see_is_noise_where_noise_belongs(
    damage: Damage, tmp_path: Path
) -> None:
    case = Case.made(damage, tmp_path)
    assert luksmeta.inspect(case.disk).damage == ()
    salt = set(range(0, STEP)) if damage.kind.version == "luks1" else set()
    assert case.changed <= _areas(damage.kind) | salt


def _areas(kind: Kind) -> set[int]:
    return set(range(kind.keyslots, kind.data, STEP))


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: each.name)
def test_of_a_sound_volume_no_damage_is_named(kind: Kind, tmp_path: Path) -> None:
    disk = original(kind).copy_to(tmp_path / "sound.img")
    assert luksmeta.inspect(disk).damage == ()


# --- recover, and repair -------------------------------------------------------------------------


@each_damage
def test_what_is_left_opens_again_and_what_is_gone_is_said(damage: Damage, tmp_path: Path) -> None:
    case = Case.made(damage, tmp_path)
    assert case.survivors == damage.opens  # the table is right
    made = recovered(case)
    if damage.opens:
        done(made.answer)
        assert opened_by_us(case, made.header) == damage.opens
        by_recover = opened_by_cryptsetup(case.disk, made.header)
    else:
        by_recover = ()
        line = refused(made.answer, 2 if damage.lost == KEYSLOTS else 4)
        assert not made.exists
        assert ("salts of all keyslots are gone" if damage.lost == SALTS else "keyslot 0: ") in line
        assert re.search("0x[0-9a-f]+[.][.]0x[0-9a-f]+", line)  # which bytes
    assert by_recover == damage.opens
    _is_untouched(case)
    assert row_in_readme(damage) == row(damage, by_repair(case), by_recover)


def row_in_readme(damage: Damage) -> str:
    """The row of this damage in the README's table."""
    start = f"| {damage.kind.name} | {damage.name} | "
    (line,) = (each for each in README.splitlines() if each.startswith(start))
    return line


def by_repair(case: Case) -> str:
    """What `cryptsetup repair` brings back; of another version, what the README says."""
    if is_the_version_of_the_table():
        return repaired_by_cryptsetup(case)
    return row_in_readme(case.damage).split(" | ")[2]


def test_the_table_of_the_readme_has_every_damage_in_order() -> None:
    lines = README.splitlines()
    start = lines.index(HEADING[0])
    assert lines[start + 1] == HEADING[1]
    rows = itertools.takewhile(lambda line: line.startswith("| "), lines[start + 2 :])
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert [each[:2] for each in cells] == [[each.kind.name, each.name] for each in DAMAGES]
    by_repair, by_recover = (sum(each[n] != "none" for each in cells) for n in (2, 3))
    text = " ".join(README.split())
    assert f"does {len(DAMAGES)} damages for real" in text
    assert f"of {by_repair} after `cryptsetup repair`, of {by_recover} after" in text


def opened_by_us(case: Case, header: Path) -> tuple[str, ...]:
    """The passphrases that open, with the right data behind them."""
    found = []
    with luksmeta.open(case.disk, header=header) as volume:
        for name, passphrase in PASSPHRASES.items():
            try:
                with volume.unlock(passphrase) as unlocked:
                    found.append(name)
                    _compare_data(case, unlocked)
            except PassphraseError:
                continue
    return tuple(found)


def _compare_data(case: Case, unlocked: Any) -> None:  # noqa: ANN401  # an unlocked volume
    expected = list(case.data())
    if expected:
        with unlocked.open() as data:
            plaintext = data.read(DATA_SIZE)
        assert all(plaintext[at : at + len(part)] == part for at, part in expected)


def _is_untouched(case: Case) -> None:
    with case.disk.open("rb") as file:
        assert file.read(CONTENT_SIZE) == case.content


def test_the_evidence_is_opened_for_reading_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiped = next(each for each in DAMAGES if each.title == "LUKS2: wipefs -a")
    case = Case.made(wiped, tmp_path)
    flags: list[int] = []
    really_open = os.open

    def recording(path: Any, flag: int, *rest: Any, **options: Any) -> int:  # noqa: ANN401  # os.open
        if Path(os.fsdecode(path)) == case.disk:
            flags.append(flag)
        return really_open(path, flag, *rest, **options)

    monkeypatch.setattr(os, "open", recording)
    done(recovered(case).answer)
    done(command("inspect", case.disk))
    assert flags
    assert all(flag & os.O_ACCMODE == os.O_RDONLY for flag in flags)


ONE_BIT = [each for each in DAMAGES if each.name.endswith(": one bit")]


@pytest.mark.parametrize("damage", ONE_BIT, ids=lambda each: each.title)
def test_one_wrong_bit_is_found_where_its_place_is_known(damage: Damage, tmp_path: Path) -> None:
    case = Case.made(damage, tmp_path)
    (lost,) = PASSPHRASES.keys() - damage.opens
    (step,) = case.changed
    places = range(step, step + STEP)
    (at,) = (each for each in places if case.content[each] != case.before.content[each])
    header, key = tmp_path / "mended.img", key_file(tmp_path, PASSPHRASES[lost])
    place = f"{at - 4}:8"
    done(command("recover", case.disk, "-o", header, "--key-file", key, "--flipped-bit", place))
    assert opened_by_us(case, header) == opened_by_cryptsetup(case.disk, header) == BOTH


# --- with the volume key -------------------------------------------------------------------------


@pytest.mark.parametrize("damage", CLOSED, ids=lambda each: each.title)
def test_the_volume_key_brings_back_all_data_that_is_there(damage: Damage, tmp_path: Path) -> None:
    case = Case.made(damage, tmp_path)
    header, new = tmp_path / "new.img", key_file(tmp_path, NEW, "new")
    options: list[str | Path] = [
        "--volume-key-file",
        key_file(tmp_path, VOLUME_KEY, "key"),
        "--new-keyfile",
        new,
    ]
    options += ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]
    if damage.title not in FOUND_BY_TRYING:
        options += ["--offset", str(damage.kind.data // STEP), "--cipher", "aes-xts-plain64"]
    answer = command("recover", case.disk, "-o", header, *options)
    _is_untouched(case)
    if damage.lost == SALTS and not any(case.data()):
        refused(answer, 2, "nothing but noise")
        assert not header.exists()
        return
    if damage.title in NO_SUPERBLOCK:
        refused(answer, 2, "not proved", "--unproved")
        answer = command("recover", case.disk, "-o", header, "--unproved", *options)
        assert answer.status == 0
        assert answer.err.startswith("luksmeta: warning: not proved: ")
    else:
        done(answer)
    with luksmeta.open(case.disk, header=header) as volume, volume.unlock(NEW) as unlocked:
        _compare_data(case, unlocked)
    assert cryptsetup.unlocks(case.disk, NEW, header=header)


# --- what stands in for a program ----------------------------------------------------------------


def test_pvcreate_leaves_what_it_is_said_to_leave(tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    real, recorded = (original(LUKS2).copy_to(each / "disk") for each in (folder, tmp_path))
    next(each for each in DAMAGES if each.title == "LUKS2: pvcreate").way(recorded)
    with loop_device(real) as device:
        only_this = f'devices {{ filter=["a|^{device}$|","r|.*|"] use_devicesfile=0 }}'
        Tool("pvcreate", "lvm2").run("-qq", "-ff", "-y", "--config", only_this, device)
    one, other = (path.read_bytes()[:CONTENT_SIZE] for path in (real, recorded))
    random = {*range(0x210, 0x214), *range(0x220, 0x240)}  # a checksum, a UUID
    apart = {at for at in range(CONTENT_SIZE) if one[at] != other[at]}
    assert apart <= random
