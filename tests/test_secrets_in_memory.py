"""No secret outlives its use in the memory of a process, and none lies where a core dump finds it.

Another process plays a scene and stands still; its memory is read from outside.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

import pytest
from argon2.low_level import Type, hash_secret_raw

import luksmeta
from luksmeta import Argon2id, Pbkdf2
from luksmeta.model import AnyKeyslot, Keyslot
from luksmeta.sector import native
from tests.corpus import PROJECT, stream
from tests.requirement import missing
from tests.secrets.memory import PIECE, Region, forms, found, regions

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

PBKDF2 = Pbkdf2(hash="sha256", iterations=1000)
FORMATS: Mapping[str, dict[str, object]] = {
    "luks1-xts": {"type": "luks1", "cipher": "aes-xts-plain64", "pbkdf": PBKDF2},
    "luks1-essiv": {"type": "luks1", "cipher": "aes-cbc-essiv:sha256", "pbkdf": PBKDF2},
    "luks2-pbkdf2": {"cipher": "aes-xts-plain64", "pbkdf": PBKDF2, "sector_size": 512},
    "luks2-argon2id": {
        "cipher": "aes-xts-plain64",
        "pbkdf": Argon2id(time=4, memory=1024, cpus=1),
        "sector_size": 4096,
    },
}
SLOW = {**FORMATS["luks2-pbkdf2"], "pbkdf": Pbkdf2(hash="sha256", iterations=1_500_000)}
ENGINES = ("native", "portable") if native.is_built() else ("portable",)


@dataclass(frozen=True)
class Secrets:
    """A volume, its key files, and everything about it that nobody may find."""

    volume: Path
    key_file: Path
    new_key_file: Path
    known: Mapping[str, bytes] = field(repr=False)

    def with_derived_keys(self) -> dict[str, bytes]:
        """All secrets, with the keys of the keyslots that there are now, computed independently."""
        secrets = dict(self.known)
        passphrases = (self.key_file.read_bytes(), self.new_key_file.read_bytes())
        with luksmeta.open(self.volume) as volume:
            for keyslot_id, keyslot in volume.keyslots.items():
                secrets[f"derived key {keyslot_id}"] = derived(keyslot, passphrases[keyslot_id])
        return secrets


def made(folder: Path, name: str) -> Secrets:
    """A new volume of this format."""
    folder.mkdir(exist_ok=True)
    volume, key_file, new_key_file = (folder / each for each in ("volume", "first", "second"))
    options = SLOW if name == "luks2-slow" else FORMATS[name]
    volume_key = stream(f"secrets/{name}", 64 if "xts" in str(options["cipher"]) else 32)
    key_file.write_bytes(stream(f"secrets/{name}/first passphrase", 40))
    new_key_file.write_bytes(stream(f"secrets/{name}/second passphrase", 40))
    luksmeta.format(
        volume,
        key_file.read_bytes(),
        size="20M",
        volume_key=volume_key,
        digest_iterations=1000,
        **options,  # type: ignore[arg-type]  # the keywords of FORMATS
    ).close()
    known = {
        "volume key": volume_key,
        "first passphrase": key_file.read_bytes(),
        "second passphrase": new_key_file.read_bytes(),
        "essiv key": hashlib.sha256(volume_key).digest(),
    }
    return Secrets(volume, key_file, new_key_file, known)


def derived(keyslot: AnyKeyslot, passphrase: bytes) -> bytes:
    assert isinstance(keyslot, Keyslot)
    size = keyslot.area.key_size
    match keyslot.kdf:
        case Pbkdf2(hash=name, iterations=iterations):
            return hashlib.pbkdf2_hmac(name, passphrase, keyslot.salt, iterations, size)
        case Argon2id(time=time, memory=memory, cpus=cpus):
            return hash_secret_raw(passphrase, keyslot.salt, time, memory, cpus, size, Type.ID)
    raise AssertionError(keyslot.kdf)


class Actor:
    """The process that plays a scene."""

    def __init__(self, process: subprocess.Popen[str], out: IO[str], into: IO[str]) -> None:
        self.process = process
        self._out, self._into = out, into

    def next_stop(self) -> str:
        """Where it stands now."""
        return self._out.readline().strip()

    def go_on(self) -> None:
        """Let it."""
        self._into.write("\n")
        self._into.flush()

    def memory(self) -> Iterator[Region]:
        """What it has in memory."""
        return regions(self.process.pid)


def command(scene: str, secrets: Secrets) -> list[str]:
    paths = (secrets.volume, secrets.key_file, secrets.new_key_file)
    return [sys.executable, "-m", "tests.secrets.holder", scene, *map(str, paths)]


@contextmanager
def playing(scene: str, secrets: Secrets, engine: str = ENGINES[0]) -> Iterator[Actor]:
    with subprocess.Popen(
        command(scene, secrets),
        cwd=PROJECT,
        env={**os.environ, "LUKSMETA_ENGINE": engine},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield Actor(process, process.stdout, process.stdin)
        finally:
            process.kill()


@dataclass(frozen=True)
class Place:
    """A secret, and the kind of memory that it lies in."""

    secret: str
    mapping: str
    is_dumped: bool
    is_locked: bool


def places(actor: Actor, secrets: Mapping[str, bytes]) -> list[Place]:
    return [
        Place(
            name,
            f"{region.name or 'memory'} at {region.start:#x}",
            region.is_dumped,
            region.is_locked,
        )
        for region in actor.memory()
        for name in found(secrets, region.data)
    ]


@dataclass(frozen=True)
class Played:
    """Where secrets lay while a volume was open, and when it was closed again."""

    known: Mapping[str, bytes] = field(repr=False)
    while_open: list[Place]
    when_closed: list[Place]


@cache
def played(folder: Path, name: str, engine: str) -> Played:
    secrets = made(folder, name)
    with playing("use", secrets, engine) as actor:
        assert actor.next_stop() == "open"
        while_open = places(actor, secrets.with_derived_keys())
        actor.go_on()
        assert actor.next_stop() == "closed"
        known = secrets.with_derived_keys()
        return Played(known, while_open, places(actor, known))


@pytest.fixture(scope="module", params=[(n, e) for n in FORMATS for e in ENGINES], ids="-".join)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Played:
    name, engine = request.param
    return played(tmp_path_factory.getbasetemp() / f"{name}-{engine}", name, engine)


def test_after_a_volume_is_closed_no_secret_is_in_memory(scene: Played) -> None:
    assert {"volume key", "derived key 0", "derived key 1"} <= scene.known.keys()
    assert not scene.when_closed


def test_while_a_volume_is_open_its_keys_lie_in_locked_memory_without_core_dumps(
    scene: Played,
) -> None:
    there = {place.secret for place in scene.while_open}
    assert {"volume key", "first passphrase", "second passphrase"} <= there
    assert not [each for each in there if each.startswith("derived key")]
    assert not [place for place in scene.while_open if place.is_dumped or not place.is_locked]


@pytest.mark.parametrize(
    ("name", "stop"),
    [
        ("wrong_passphrase", "PassphraseError"),
        ("over_the_limit", "ResourceLimitError"),
        ("interrupted", "KeyboardInterrupt"),
    ],
)
def test_an_error_that_lives_on_keeps_no_secret_alive(tmp_path: Path, name: str, stop: str) -> None:
    secrets = made(tmp_path, "luks2-slow" if name == "interrupted" else "luks2-pbkdf2")
    known = secrets.with_derived_keys()
    with luksmeta.open(secrets.volume) as volume:
        wrong = derived(volume.keyslots[0], secrets.new_key_file.read_bytes())
    with playing(name, secrets) as actor:
        assert actor.next_stop() == stop
        assert not places(actor, {**known, "wrongly derived key": wrong})


def test_a_core_dump_of_an_open_volume_holds_no_secret(tmp_path: Path) -> None:
    secrets = made(tmp_path, "luks2-argon2id")
    core = core_dump(secrets, tmp_path)
    assert b"tests.secrets.holder" in core  # it is one, and memory is in it
    assert not found(secrets.with_derived_keys(), core)


def core_dump(secrets: Secrets, folder: Path) -> bytes:
    """The kernel's own, where it writes one; else gdb's, which skips the same memory."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern.startswith("|") or "/" in pattern:
        return _core_by_gdb(secrets, folder)
    before = set(folder.iterdir())
    status = subprocess.run(
        command("use_and_abort", secrets),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.DEVNULL,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, 1 << 30)),
    ).returncode
    assert status < 0
    (core,) = set(folder.iterdir()) - before
    return core.read_bytes()


def _core_by_gdb(secrets: Secrets, folder: Path) -> bytes:
    if shutil.which("gcore") is None:
        missing("no core dump can be had: the kernel pipes them to a program, gdb is not installed")
    with playing("use", secrets) as actor:
        assert actor.next_stop() == "open"
        gcore = ["gcore", "-o", str(folder / "core"), str(actor.process.pid)]
        subprocess.run(gcore, check=True, capture_output=True)
        return (folder / f"core.{actor.process.pid}").read_bytes()


def test_a_secret_that_is_there_is_found_in_every_form() -> None:
    secret = stream("secrets/form", 64)
    number = int.from_bytes(secret[:32], "big")
    halves = (secret[:PIECE], secret[-PIECE:], secret.hex().encode(), number.to_bytes(32, "big"))
    for text in halves:
        assert found({"it": secret}, b"before" + text + b"behind") == ["it"]
    assert found({"it": secret}, secret[1:PIECE]) == []
    assert all(len(form) >= PIECE - 4 for form in forms(secret))
