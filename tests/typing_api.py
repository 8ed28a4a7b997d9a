"""The public API as a user writes it: type-checked with everything else, never run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import assert_type

import luksmeta


def create(path: Path) -> int:
    with luksmeta.format(
        path,
        b"correct horse",
        size="64M",
        cipher="aes-xts-plain64",
        pbkdf=luksmeta.Argon2id.calibrate(milliseconds=500),
    ) as volume:
        assert_type(volume, luksmeta.Volume)
        with volume.unlock(b"correct horse") as unlocked:
            assert_type(unlocked, luksmeta.UnlockedVolume)
            spare = unlocked.add_keyslot(b"battery staple", priority="ignore")
            assert_type(spare, int)
            with unlocked.open(writable=True) as data:
                raw: io.RawIOBase = data
                raw.write(b"hello")
    return spare


def inspect(path: Path, spare: int) -> None:
    with luksmeta.open(path) as volume:
        print(volume.version, volume.uuid, volume.keyslots)
        try:
            volume.unlock(bytearray(b"wrong guess"), keyslot=spare)
        except luksmeta.PassphraseError as error:
            print(error.tried)


def from_a_file_object(file: io.BufferedRandom, name: str) -> luksmeta.Volume:
    luksmeta.open(name).close()
    return luksmeta.open(file, writable=True)


def tokens_and_recovery(path: Path) -> str:
    with luksmeta.open(path, writable=True) as volume:
        with volume.unlock(b"correct horse") as unlocked:
            keyslot, key = unlocked.add_recovery_key(note=luksmeta.Note(owner="Ann"))
            shown = bytes(key.view()).decode()
        assert_type(volume.note(keyslot), luksmeta.Note | None)
        volume.tokens.add({"type": "acme", "keyslots": [str(keyslot)]})
        for token_id, token in volume.tokens.items():
            print(token_id, token.type, token.keyslots)
        volume.remove_keyslot(volume.tokens.keyslots_of("systemd-recovery"))
    return shown


def sealed(path: Path) -> bytes:
    with luksmeta.open(path, writable=True) as volume:
        with volume.unlock(b"correct horse") as unlocked:
            made = unlocked.seal()
            assert_type(made, luksmeta.SealVerification)
            found = unlocked.verify_seal(luksmeta.SealTerms(counter=made.counter))
            for finding in found.findings:
                assert_type(finding, luksmeta.SealFinding)
        volume.unlock(b"correct horse", require_seal=True).close()
        assert_type(volume.measure("sha384"), bytes)
    return luksmeta.measure(path, hash="sha512")


def without_a_header(path: Path, key_file: bytes) -> bytes:
    with luksmeta.open_plain(
        path, passphrase=b"correct horse", defaults="cryptsetup-1.1", offset=8
    ) as plain:
        assert_type(plain, luksmeta.HeaderlessVolume)
        assert_type(plain.open(), luksmeta.SegmentStream)
    with luksmeta.open_loopaes(path, key_file, key_size=16) as loopaes, loopaes.open() as data:
        return data.readall()


def report(path: Path) -> str:
    made = luksmeta.case_report([path, "other.img"], case="2026-17", hash_image=True)
    assert_type(made, luksmeta.CaseReport)
    return made.html()


def run_table(path: Path) -> bytes:
    (line,) = luksmeta.parse_table("0 8 linear 7:0 0")
    assert_type(line, luksmeta.TableLine)
    with luksmeta.open_table(str(line), {"7:0": path}, writable=True) as table:
        assert_type(table, luksmeta.TableVolume)
        assert_type(table.data_storage, luksmeta.MappedDevice)
        with table.open() as data:
            return data.readall()


def look(path: Path) -> bool:
    inspection = luksmeta.inspect(path, entropies=[40, 50.5])
    assert_type(inspection, luksmeta.Inspection)
    return all(each.can_open is not False for each in inspection.keyslots.values())


def guess(path: Path, words: Path) -> str | None:
    rules = luksmeta.load_rules("best64.rule")
    guesses = luksmeta.Guesses(b"almost", [luksmeta.WordList(str(words))], rules)
    with luksmeta.open(path) as volume:
        found = luksmeta.find_passphrase(volume, guesses, processes=2)
    assert_type(found, luksmeta.FoundPassphrase | None)
    return None if found is None else found.guess.variant


def encrypted_image(directory: Path, raw: Path, image: Path) -> str | None:
    with luksmeta.filesystem_image(directory, "squashfs") as filesystem:
        assert_type(filesystem, luksmeta.RawImage)
        luksmeta.encrypt_image(image, b"correct horse", filesystem, label="root")
    with luksmeta.RawImage(raw) as plaintext:
        made = luksmeta.encrypt_image(image, b"correct horse", plaintext, size=1 << 30)
    assert_type(made, luksmeta.EncryptedImage)
    return made.sha256
