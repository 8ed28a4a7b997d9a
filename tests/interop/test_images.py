"""Whole images under a real kernel: cryptsetup opens them, and the same files are in them.

Everything happens in one boot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luksmeta.images.filesystem_makers import MAKERS
from tests.cli.runner import CHEAP, Argument, done, key_file, luksmeta
from tests.corpus import Corpus, KernelVolume, kernel_volumes
from tests.images.trees import FILES, PROGRAMS, plant
from tests.interop.peers import kernel
from tests.interop.volumes import SECRET

_GUEST = """
set -e
modprobe -a ext4 btrfs squashfs
list() {
    find . -type f | while read -r file; do
        digest=$(sha256sum <"$file")
        echo "$1|${file#./}|${digest%% *}"
    done
}
show() {
    cryptsetup open --batch-mode --readonly --key-file secret $2 opened
    if [ $3 = erofs ]; then
        digest=$(sha256sum </dev/mapper/opened)
        echo "$1|whole|${digest%% *}"
    else
        mount -o ro -t $3 /dev/mapper/opened /mnt
        (cd /mnt && list $1)
        umount /mnt
    fi
    cryptsetup close opened
}
"""
_MOVED = [each for each in kernel_volumes() if each.kind in ("cryptoloop", "loopaes", "luks1")]


def _migrated(volume: KernelVolume, corpus: Corpus, folder: Path) -> Path:
    """The volume's image moved into a new LUKS2 volume, by one command."""
    options: list[Argument] = ["--encrypt-from", corpus.unpack(volume.image)]
    if volume.type == "loopaes":
        key = key_file(folder, volume.secret, f"{volume.name}.key")
        options += ["--from-type", "loopaes", "--from-key-file", key]
        typed = b""
    else:
        options += ["--from-type", volume.type if volume.type == "luks" else volume.kind]
        typed = volume.secret + b"\n"
    return _formatted(folder / volume.name, *options, stdin=typed)


def _formatted(image: Path, *options: Argument, stdin: bytes = b"") -> Path:
    key = key_file(image.parent, SECRET, "secret")
    done(luksmeta("format", image, "-d", key, *CHEAP, *options, stdin=stdin))
    return image


def _seen(lines: list[str]) -> dict[str, dict[str, str]]:
    """The digest of each file, by image and path."""
    found: dict[str, dict[str, str]] = {}
    for line in lines:
        image, path, digest = line.split("|")
        found.setdefault(image, {})[path] = digest
    return found


def _planted() -> dict[str, str]:
    files: Mapping[str, bytes] = {**FILES, "twice": FILES["a.txt"]}
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def _of_manifest(volume: KernelVolume) -> dict[str, str]:
    files: Mapping[str, Any] = volume.entry["files"]
    return {name: each["sha256"] for name, each in files.items()}


def _boot(images: Mapping[Path, str], secret: Path) -> dict[str, dict[str, str]]:
    """What the kernel sees in each image, given with its file system."""
    lines = [
        f"show {image.name} /dev/vd{chr(ord('a') + number)} {filesystem}"
        for number, (image, filesystem) in enumerate(images.items())
    ]
    disks = [f"{image}:snapshot" for image in images]
    result = kernel.run(_GUEST + "\n".join(lines), disks, [secret])
    assert result.returncode == 0, result.stderr.decode()
    return _seen(result.stdout.decode().splitlines())


def test_the_kernel_mounts_what_was_made_and_finds_the_same_files(
    corpus: Corpus, tmp_path: Path
) -> None:
    """One test, so that parallel runs boot once as well.

    This kernel has no EROFS: there it shows the whole mapping, and fsck.erofs has the rest.
    """
    kernel.require()
    corpus.unpack("vectors/volumes/cryptoloop-aes-cbc-plain-ripemd160.img.xz")  # or the test ends
    moved = {_migrated(volume, corpus, tmp_path): volume for volume in _MOVED}
    assert {volume.kind for volume in moved.values()} == {"cryptoloop", "loopaes", "luks1"}
    tree = plant(tmp_path / "tree")
    made = {}
    for filesystem in MAKERS:
        PROGRAMS[filesystem].require()
        options: list[Argument] = ["--populate", tree, "--filesystem", filesystem]
        made[_formatted(tmp_path / filesystem, *options)] = filesystem
    seen = _boot({**dict.fromkeys(moved, "ext4"), **made}, tmp_path / "secret")
    for image, volume in moved.items():
        assert seen[image.name] == _of_manifest(volume)
    erofs = done(luksmeta("read", tmp_path / "erofs", "-d", tmp_path / "secret")).raw
    assert seen.pop("erofs") == {"whole": hashlib.sha256(erofs).hexdigest()}
    for filesystem in ("ext4", "squashfs", "btrfs"):
        assert seen[filesystem] == _planted()
