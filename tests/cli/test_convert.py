"""``convert``."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from luksmeta.cli import interrupts
from luksmeta.storage import Storage
from luksmeta.write_plan import Progress, WritePlan
from tests import builders
from tests.builders import FIRST, SECOND
from tests.cli.runner import CHEAP, Argument, done, key_file, luksmeta, opens, refused
from tests.interop.peers import cryptsetup
from tests.loop import loop_device

KEYSLOTS = 8
CROWDED = 2 * (16 << 10) + KEYSLOTS * (128 << 10)


def full(folder: Path) -> Path:
    """A LUKS1 volume all of whose keyslots are in use, with no room for another area."""
    image = builders.file(folder / "volume.img", "luks1")
    first, second = key_file(folder), key_file(folder, SECOND, "second")
    for _ in range(KEYSLOTS - 1):
        done(luksmeta("add-key", image, "-d", first, "--new-keyfile", second, *CHEAP))
    return image


def test_convert_there_and_back(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks1", FIRST, SECOND)
    before = image.read_bytes()
    refused(luksmeta("convert", image, "--type", "luks2"), 1, str(image), "LUKS2", "-q")
    assert image.read_bytes() == before
    answer = done(luksmeta("convert", image, "--type", "luks2", "-q"))
    assert answer.out == f"{image}: converted to LUKS2\n"
    assert cryptsetup.is_luks(image, 2)
    assert cryptsetup.unlocked_slot(image, SECOND) == 1
    document = done(luksmeta("convert", image, "--type", "luks1", "-q", "--json")).json
    uuid = cryptsetup.uuid(image)
    assert document == {"format": "luks1", "uuid": uuid, "keyslots": [0, 1], "notes": []}
    assert cryptsetup.is_luks(image, 1)
    assert image.read_bytes()[:1024] == before[:1024]


def test_convert_needs_a_type_that_the_volume_has_not(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    refused(luksmeta("convert", image), 1, "--type")
    refused(luksmeta("convert", image, "--type", "luks3"), 1, "luks3")
    refused(luksmeta("convert", image, "--type", "luks2", "-q"), 1, f"{image}: LUKS2 already")


def test_convert_says_what_gets_lost(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks1")
    done(luksmeta("convert", image, "--type", "luks2", "-q"))
    done(luksmeta("config", image, "--label", "mine"))
    answer = luksmeta("convert", image, "--type", "luks1", "-q", "--json")
    assert answer.status == 0
    note = "LUKS1 has no place for the label 'mine'"
    assert answer.err == f"luksmeta: warning: {image}: {note}\n"
    assert answer.json["notes"] == [note]


def test_without_room_convert_makes_a_backup_first_and_says_so(tmp_path: Path) -> None:
    image = full(tmp_path)
    backup = Path(f"{image}.before-convert")
    way_out = f"bring them back with: luksmeta restore-header {image} -i {backup}\n"
    before = image.read_bytes()
    dry = luksmeta("convert", image, "--type", "luks2", "--dry-run")
    assert dry.status == 0
    assert dry.err.endswith(way_out)
    assert f"as they are, in a new file {backup}\n" in dry.out
    document = luksmeta("convert", image, "--type", "luks2", "--dry-run", "--json").json
    assert document["backup"] == str(backup)
    assert document["plan"][0]["step"] == "copy"
    assert document["plan"][0]["what"].endswith(f"in a new file {backup}")
    assert image.read_bytes() == before
    assert not backup.exists()
    backup.write_bytes(b"precious")
    answer = luksmeta("convert", image, "--type", "luks2", "-q")
    assert answer.status == 0
    assert answer.err.endswith(way_out.replace("convert\n", "convert-2\n"))
    assert backup.read_bytes() == b"precious"
    assert not Path(f"{backup}-2").exists()
    assert cryptsetup.is_luks(image, 2)
    assert opens(image, FIRST)
    assert opens(image, SECOND)


def test_a_backup_that_is_named_stays(tmp_path: Path) -> None:
    for image, room in ((full(tmp_path), ""), (builders.file(tmp_path / "other", "luks1"), "room")):
        before, backup = image.read_bytes(), tmp_path / f"backup{room}"
        line = ("convert", image, "--type", "luks2", "--backup", backup)
        backup.write_bytes(b"precious")
        for option in ("-q", "--dry-run"):
            refused(luksmeta(*line, option), 5, f"{backup}: file exists")
        assert (backup.read_bytes(), image.read_bytes()) == (b"precious", before)
        backup.unlink()
        assert luksmeta(*line, "--dry-run", "--json").json["backup"] == str(backup)
        assert luksmeta(*line, "-q").status == 0
        kept = backup.read_bytes()
        assert kept == before[: len(kept)]
        assert cryptsetup.is_luks(image, 2)
        assert luksmeta("restore-header", image, "-i", backup, "-q").status == 0
        assert cryptsetup.is_luks(image, 1)
        assert opens(image, FIRST)


def test_beside_a_device_there_is_no_place_for_a_backup(tmp_path: Path) -> None:
    with loop_device(full(tmp_path)) as device:
        line = ("convert", device, "--type", "luks2")
        for option in ("-q", "--dry-run"):
            refused(luksmeta(*line, option), 1, f"{device} is a device", "--backup")
        assert cryptsetup.is_luks(device, 1)
        assert luksmeta(*line, "-q", "--backup", tmp_path / "backup").status == 0
        assert cryptsetup.is_luks(device, 2)
        assert opens(device, SECOND)
    assert not Path(f"{device}.before-convert").exists()


def killed(image: Path, monkeypatch: pytest.MonkeyPatch, *options: Argument) -> None:
    """A conversion at whose second area the machine fails: nothing is undone."""
    apply, disk = WritePlan.apply, bytearray()

    def torn(plan: WritePlan, storage: Storage, progress: Progress | None = None) -> None:
        if plan.what.startswith("move all areas"):
            apply(WritePlan.of(plan.what, plan.steps[:5]), storage)
            disk[:] = image.read_bytes()
        apply(plan, storage, progress)

    backup = Path(f"{image}.before-convert")
    with monkeypatch.context() as patched:
        patched.setattr(WritePlan, "apply", torn)
        patched.setattr(Path, "unlink", lambda *_: None)
        assert luksmeta("convert", image, "--type", "luks2", "-q", *options).status == 0
    assert disk
    assert backup.exists() != bool(options)
    image.write_bytes(disk)


def test_after_the_machine_failed_the_next_run_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = full(tmp_path)
    before = image.read_bytes()
    killed(image, monkeypatch)
    backup, left = Path(f"{image}.before-convert"), image.read_bytes()
    command = ("restore-header", image, "-i", backup)
    way_out = f"bring it back with: luksmeta {' '.join(map(str, command))}"
    for wanted in ("luks1", "luks2"):
        refused(luksmeta("convert", image, "--type", wanted, "-q"), 4, way_out)
    for name in ("dump", "unlock", "repair"):
        refused(luksmeta(name, image), 4, "conversion that was cut off", "IMAGE.before-convert")
    assert not cryptsetup.is_luks(image)
    assert image.read_bytes() == left
    assert luksmeta(*command, "-q", "--no-backup").status == 0
    assert image.read_bytes() == before


def test_a_backup_elsewhere_is_not_replaced_by_one_of_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, backup = full(tmp_path), tmp_path / "elsewhere"
    killed(image, monkeypatch, "--backup", backup)
    kept = backup.read_bytes()
    line = ("convert", image, "--type", "luks2", "-q", "--backup")
    for name in (backup, tmp_path / "another"):
        refused(luksmeta(*line, name), 4, "cut off", "what --backup named")
    assert not (tmp_path / "another").exists()
    assert backup.read_bytes() == kept
    assert luksmeta("restore-header", image, "-i", backup, "-q").status == 0
    assert opens(image, FIRST)
    assert opens(image, SECOND)


def test_a_signal_waits_until_all_areas_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = full(tmp_path)
    apply = WritePlan.apply

    def interrupted(plan: WritePlan, storage: Storage, progress: Progress | None = None) -> None:
        if plan.what.startswith("move all areas"):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(2 * interrupts.PATIENCE_SECONDS)
        apply(plan, storage, progress)

    monkeypatch.setattr(WritePlan, "apply", interrupted)
    answer = luksmeta("convert", image, "--type", "luks2", "-q")
    assert answer.status == 130
    assert answer.err.endswith(f"luksmeta: error: {image}: interrupted\n")
    assert cryptsetup.is_luks(image, 2)
    assert opens(image, FIRST)
    assert opens(image, SECOND)
    assert not Path(f"{image}.before-convert").exists()


def test_a_keyslot_that_may_be_in_use_keeps_the_header_as_it_is(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks1", FIRST, SECOND)
    with image.open("r+b") as file:
        file.seek(208 + 48 + 3)
        file.write(b"\xf2")
    before = image.read_bytes()
    line = ("convert", image, "--type", "luks2", "-q")
    refused(luksmeta(*line), 1, "keyslot 1: state 0x00ac71f2, neither in use nor free")
    assert image.read_bytes() == before


def test_the_dry_run_has_the_notes_too(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks1")
    done(luksmeta("convert", image, "--type", "luks2", "-q"))
    done(luksmeta("config", image, "--label", "home"))
    answer = luksmeta("convert", image, "--type", "luks1", "--dry-run", "--json")
    assert answer.status == 0
    assert answer.json["notes"] == ["LUKS1 has no place for the label 'home'"]
    assert answer.json["plan"]
