"""Our volumes under a real kernel: dm-crypt shows what we wrote, and we read what it writes.

Everything happens in one boot.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import luksmeta
from luksmeta.new_volume import FormatKeywords
from tests.corpus import stream
from tests.interop.peers import kernel
from tests.interop.peers.process import Tool, scratch
from tests.interop.volumes import DIGEST_ITERATIONS, OTHER, SECRET, THIRD, cheap, read, write

_PAYLOAD = 2 << 20  # bytes
_CONTENT = stream("written by the kernel", 100_000)

_GUEST = """
set -e
modprobe ext4
open() { cryptsetup open --batch-mode --key-file "$@" opened; }
show() {
    echo "$1 $(blockdev --getsize64 /dev/mapper/opened) $(sha256sum </dev/mapper/opened)"
    cryptsetup close opened
}
fill() {
    mkfs.ext4 -q /dev/mapper/opened
    mount /dev/mapper/opened /mnt
    cp content /mnt/content
    umount /mnt
}
"""


@dataclass(frozen=True)
class Seen:
    """A mapping as the kernel showed it: its bytes, and their digest."""

    size: int
    sha256: str

    @classmethod
    def of(cls, payload: bytes) -> Seen:
        """What the kernel should show."""
        return cls(len(payload), hashlib.sha256(payload).hexdigest())


def _header(path: Path) -> Path | None:
    return path.with_suffix(".header") if path.name == "detached" else None


def _format(path: Path, **options: Unpack[FormatKeywords]) -> None:
    options = {"pbkdf": cheap("pbkdf2"), "digest_iterations": DIGEST_ITERATIONS, **options}
    room = 0 if _header(path) else 2 << 20 if options.get("type") == "luks1" else 16 << 20
    luksmeta.format(path, SECRET, size=room + _PAYLOAD, header=_header(path), **options).close()


def _fill(path: Path) -> None:
    """Write the whole payload."""
    size = len(read(path, SECRET, header=_header(path)))
    write(path, SECRET, stream(path.name, size), header=_header(path))


def _make_volumes(folder: Path) -> None:
    essiv = "aes-cbc-essiv:sha256"
    _format(folder / "luks1", type="luks1")
    _format(
        folder / "luks1-essiv",
        type="luks1",
        cipher=essiv,
        hash="sha1",
        pbkdf=cheap("pbkdf2", "sha1"),
    )
    _format(folder / "luks1-capi", type="luks1", cipher="capi:xts(aes)-plain64", key_size=64)
    _format(folder / "luks2-capi", cipher="capi:cbc(aes)-essiv:sha256", key_size=32)
    _format(folder / "luks2", sector_size=4096, pbkdf=cheap("argon2id"))
    _format(folder / "luks2-essiv", sector_size=4096, cipher=essiv)
    _format(folder / "luks2-serpent", cipher="serpent-xts-plain64", sector_size=4096)
    _format(folder / "luks1-twofish", type="luks1", cipher="twofish-cbc-essiv:sha256")
    _format(folder / "luks2-adiantum", cipher="xchacha12,aes-adiantum-plain64", sector_size=4096)
    _format(folder / "luks2-lrw", cipher="aes-lrw-benbi", sector_size=512)
    _format(folder / "luks2-tcw", cipher="blowfish-cbc-tcw", key_size=72, sector_size=512)
    _format(folder / "detached", sector_size=512)
    _format(folder / "rekeyed", sector_size=512)
    for path in sorted(folder.iterdir()):
        if path.suffix != ".header":
            _fill(path)
    with luksmeta.open(folder / "rekeyed", writable=True) as volume:
        with volume.unlock(SECRET) as unlocked:
            unlocked.add_keyslot(OTHER, pbkdf=cheap("argon2i"))
            unlocked.change_keyslot(1, THIRD, pbkdf=cheap("argon2id"))
        volume.remove_keyslot(0)
    _format(folder / "filled-luks1", type="luks1")
    _format(folder / "filled-luks2", sector_size=4096)


def _script(disks: list[Path]) -> str:
    """Each volume shown; the ``filled`` ones get a file system first."""
    device = {path.name: f"/dev/vd{chr(ord('a') + n)}" for n, path in enumerate(disks)}
    lines = []
    for name in device:
        if name.endswith(".header"):
            continue
        header = ["--header", device[f"{name}.header"]] if name == "detached" else []
        key = "third" if name == "rekeyed" else "secret"
        lines.append(shlex.join(["open", key, *header, device[name]]))
        if name.startswith("filled"):
            lines.append("fill")
        lines.append(f"show {name}")
    refused = [
        f"open {key} {device['rekeyed']} || echo refused {key}" for key in ("secret", "other")
    ]
    return _GUEST + "\n".join([*lines, *refused])


def _boot(folder: Path) -> tuple[dict[str, Seen], list[str]]:
    """What the kernel saw in each volume of ``folder``, and which secrets it refused."""
    disks = sorted(folder.iterdir())
    with scratch(secret=SECRET, other=OTHER, third=THIRD, content=_CONTENT) as files:
        result = kernel.run(_script(disks), disks, sorted(files.iterdir()))
    assert result.returncode == 0, result.stderr.decode()
    lines = [line.split() for line in result.stdout.decode().splitlines()]
    seen = {words[0]: Seen(int(words[1]), words[2]) for words in lines if words[0] != "refused"}
    return seen, [words[1] for words in lines if words[0] == "refused"]


def test_the_kernel_and_we_see_the_same_in_a_volume(tmp_path: Path) -> None:
    """One test, so that parallel runs boot once as well."""
    kernel.require()
    folder = tmp_path / "volumes"
    folder.mkdir()
    _make_volumes(folder)
    seen, refused = _boot(folder)
    assert refused == ["secret", "other"]  # of the keyslot that was removed, and the one changed
    payloads = {name: _ours(folder / name) for name in seen}
    assert seen == {name: Seen.of(payload) for name, payload in payloads.items()}
    for name, payload in payloads.items():
        if name.startswith("filled"):
            _check_file_system(payload, tmp_path / name)
        else:
            assert payload == stream(name, len(payload))


def _ours(path: Path) -> bytes:
    secret = THIRD if path.name == "rekeyed" else SECRET
    return read(path, secret, header=_header(path))


def _check_file_system(image: bytes, path: Path) -> None:
    path.write_bytes(image)
    Tool("e2fsck", "e2fsprogs").run("-fn", path)
    assert Tool("debugfs", "e2fsprogs").run("-R", "cat content", path) == _CONTENT
