"""``table``, and ``read`` and ``write`` with ``--table``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import luksmeta as luksmeta_api
from luksmeta import MemoryStorage, open_loopaes
from luksmeta.disks.part_storage import PartStorage
from luksmeta.dm.mapping import Mappable
from luksmeta.dm.table import print_table
from luksmeta.extents import Extent
from luksmeta.format_options import Version
from tests import builders
from tests.builders import DATA_SIZE, FIRST, SECOND, VOLUME_KEY
from tests.cli.runner import Answer, done, key_file, luksmeta, piped, refused
from tests.cli.volumes import detach
from tests.corpus import stream
from tests.loop import loop_device

_A, _B = stream("cli/table/a", 20 << 10), stream("cli/table/b", 20 << 10)
_TABLE = "0 10 linear 7:0 2\n10 6 linear /dev/b 0\n16 4 zero\n"


def _disks(folder: Path, table: str = _TABLE) -> list[str | Path]:
    """The options that name a table and its devices."""
    (folder / "a").write_bytes(_A)
    (folder / "b").write_bytes(_B)
    (folder / "t").write_text(table)
    return [
        *("--table", folder / "t"),
        *("--device", f"7:0={folder / 'a'}", "--device", f"/dev/b={folder / 'b'}"),
    ]


def _expected() -> bytes:
    return _A[1024:6144] + _B[:3072] + bytes(2048)


def _told(answer: Answer) -> Answer:
    """The same answer; fails where the command did not warn of a file as a device."""
    assert answer.status == 0, answer.err
    text = "the kernel takes block devices only: a loop device of it, --device /dev/loopN"
    assert answer.err.startswith("luksmeta: warning: ")
    assert answer.err.endswith(f": {text}\n")
    return answer


def test_keys_are_zeroes_unless_they_are_asked_for(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "v", "luks2", FIRST)
    offset = builders.data_offset("luks2") // 512
    line = f"0 128 crypt aes-xts-plain64 {{}} 0 {image} {offset}\n"
    zeroes = "00" * len(VOLUME_KEY)
    assert _told(luksmeta("table", image)).out == line.format(zeroes)
    key = key_file(tmp_path)
    assert _told(luksmeta("table", image, "-d", key)).out == line.format(zeroes)
    shown = _told(luksmeta("table", image, "-d", key, "--show-keys"))
    assert shown.out == line.format(VOLUME_KEY.hex())
    document = _told(luksmeta("table", image, "-d", key, "--show-keys", "--json")).json
    assert document["table"][0]["arguments"][1] == VOLUME_KEY.hex()
    assert document["table"][0]["line"] == shown.out.rstrip("\n")
    uuid = "c0ffee00-0000-4000-8000-000000000001"
    named = line.format(f":32:logon:cryptsetup:{uuid}-d0")
    assert _told(luksmeta("table", image, "--keyring")).out == named


def test_options_and_persistent_flags_are_in_the_line(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "v", "luks2", FIRST)
    done(luksmeta("config", image, "--persistent-flags", "no-read-workqueue"))
    answer = done(
        luksmeta("table", image, "--device", "7:7", "--allow-discards", "--perf-same_cpu_crypt")
    )
    assert answer.out.endswith(
        f" 0 7:7 {builders.data_offset('luks2') // 512}"
        " 3 allow_discards same_cpu_crypt no_read_workqueue\n"
    )


def test_a_plain_volume_has_a_table(tmp_path: Path) -> None:
    disk, key = tmp_path / "d", key_file(tmp_path, bytes(range(32)))
    disk.write_bytes(bytes(64 << 10))
    options = ("--type", "plain", "-c", "aes-xts-plain64", "-s", "256", "-d", key, "-q")
    place = ("--offset", "8", "--skip", "16", "--size", "64", "--sector-size", "4096")
    answer = _told(luksmeta("table", disk, *options, *place, "--iv-large-sectors", "--show-keys"))
    assert answer.out == (
        f"0 64 crypt aes-xts-plain64 {bytes(range(32)).hex()} 16 {disk} 8"
        " 2 sector_size:4096 iv_large_sectors\n"
    )


def test_a_loop_aes_volume_has_a_table_with_all_its_keys(tmp_path: Path) -> None:
    disk, keys = tmp_path / "d", key_file(tmp_path, b"".join(b"%020d\n" % n for n in range(65)))
    disk.write_bytes(bytes(64 << 10))
    line = ("table", disk, "--type", "loopaes", "-d", keys, "-s", "128", "--offset", "8")
    zeroes = _told(luksmeta(*line)).out
    assert zeroes == f"0 120 crypt aes:64-cbc-lmk {'00' * 16 * 65} 8 {disk} 8\n"
    with open_loopaes(disk, keys.read_bytes(), key_size=16, offset=8) as volume:
        key = volume.volume_key.view().hex()
        with volume.open() as data:
            expected = data.readall()
    shown = _told(luksmeta(*line, "--show-keys")).out
    assert shown.split()[4] == key
    (tmp_path / "t").write_text(shown)
    assert done(luksmeta("read", "--table", tmp_path / "t", "--device", f"{disk}={disk}")).raw == (
        expected
    )


def test_a_detached_header_has_the_data_s_table(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "v", "luks2", FIRST)
    plain = _told(luksmeta("table", image)).out
    header = detach(image)
    assert _told(luksmeta("table", image, "--header", header)).out == plain
    refused(luksmeta("table", image), 4, "not a LUKS volume")


def test_a_volume_s_own_table_shows_its_plaintext(tmp_path: Path) -> None:
    image, key = builders.file(tmp_path / "v", "luks1", FIRST), key_file(tmp_path)
    done(luksmeta("write", image, "-d", key, "-i", _file(tmp_path, _A)))
    table = luksmeta("table", image, "-d", key, "--show-keys", "--device", "7:0").out
    (tmp_path / "t").write_text(table)
    answer = done(luksmeta("read", "--table", tmp_path / "t", "--device", f"7:0={image}"))
    assert len(answer.raw) == DATA_SIZE
    assert answer.raw.startswith(_A)


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "input"
    path.write_bytes(content)
    return path


def test_a_table_is_read(tmp_path: Path) -> None:
    options = _disks(tmp_path)
    assert done(luksmeta("read", *options)).raw == _expected()
    part = done(luksmeta("read", *options, "--offset", "5000", "--length", "400"))
    assert part.raw == _expected()[5000:5400]
    done(luksmeta("read", *options, "-o", tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == _expected()


@pytest.mark.parametrize("is_piped", [False, True])
def test_a_table_is_written(is_piped: bool, tmp_path: Path) -> None:
    options, data = _disks(tmp_path), stream("cli/table/written", 3000)
    before = [(tmp_path / name).read_bytes() for name in "ab"]
    line = ("write", *options, "--offset", "4000")
    if is_piped:
        answer = done(piped(*line, stdin=data))
    else:
        line = (*line, "-i", _file(tmp_path, data))
        plan = done(luksmeta(*line, "--dry-run", "--json")).json["plan"]
        assert plan == [{"step": "write", "offset": 3584, "length": 3584, "what": "data"}]
        assert [(tmp_path / name).read_bytes() for name in "ab"] == before
        answer = done(luksmeta(*line))
    assert "3000 bytes written at 4000" in answer.out
    expected = bytearray(_expected())
    expected[4000:7000] = data
    assert done(luksmeta("read", *options)).raw == expected
    assert (tmp_path / "a").read_bytes()[:5024] == _A[:5024]


def test_snapshots_are_kept_up_by_their_origin(tmp_path: Path) -> None:
    """The snapshot's table is no part of the origin's; it is named so that it is known."""
    options = _disks(tmp_path, "0 40 snapshot-origin 7:0\n")
    (tmp_path / "s").write_text("0 40 snapshot 7:9 /dev/b P 1\n")
    (tmp_path / "b").write_bytes(bytes(20 << 10))
    a = tmp_path / "a"
    more = ("--device", f"snap=@{tmp_path / 's'}", "--device", f"7:9={a}")
    data = _file(tmp_path, bytes(1000))
    done(luksmeta("write", *options, *more, "-i", data, "--offset", "300", "--dry-run"))
    assert (tmp_path / "b").read_bytes() == bytes(20 << 10)
    done(luksmeta("write", *options, *more, "-i", data, "--offset", "300"))
    assert a.read_bytes() == _A[:300] + bytes(1000) + _A[1300:]
    (tmp_path / "t").write_text("0 40 linear snap 0\n")
    assert done(luksmeta("read", *options, *more)).raw == _A


def test_a_volume_in_a_part_has_the_disk_s_table(tmp_path: Path) -> None:
    """A logical volume in two pieces: a line for each, and the sectors' numbers go on."""
    image, key = builders.file(tmp_path / "v", "luks2", FIRST), key_file(tmp_path)
    cut = builders.data_offset("luks2") + 33 * 512
    content = image.read_bytes()
    disk, first, second = MemoryStorage(16 << 20), 7 << 20, 3 << 20
    disk.write_at(first, content[:cut])
    disk.write_at(second, content[cut:])
    extents = (Extent(first, cut), Extent(second, len(content) - cut))
    with luksmeta_api.open(PartStorage(disk, extents, "part")) as volume:
        table = Mappable.luks(volume.metadata, volume.data_storage, "d").table
    start = (first + builders.data_offset("luks2")) // 512
    zeroes = "00" * len(VOLUME_KEY)
    assert [str(each.line) for each in table] == [
        f"0 33 crypt aes-xts-plain64 {zeroes} 0 d {start}",
        f"33 95 crypt aes-xts-plain64 {zeroes} 33 d {second // 512}",
    ]
    lines = print_table(each.with_key_word(VOLUME_KEY.hex()) for each in table)
    with luksmeta_api.open_table(lines, {"d": disk}) as mapped, mapped.open() as data:
        assert data.readall() == done(luksmeta("read", image, "-d", key)).raw


@pytest.mark.parametrize("kind", ["luks1", "luks2"])
def test_a_part_is_named_on_the_command_line(kind: Version, tmp_path: Path) -> None:
    image, key = builders.file(tmp_path / "v", kind, FIRST), key_file(tmp_path)
    disk, content = tmp_path / "disk", image.read_bytes()
    disk.write_bytes(bytes(3072) + content)
    plain = done(luksmeta("read", image, "-d", key)).raw
    for part, name in ((f"{disk}#offset=3072", disk), (f"{disk}#offset=3K", "7:0")):
        line = ("table", part, "-d", key, "--show-keys", "--device", name)
        (tmp_path / "t").write_text(done(luksmeta(*line)).out)
        device = ("--table", tmp_path / "t", "--device", f"{name}={disk}")
        assert done(luksmeta("read", *device)).raw == plain
    (tmp_path / "t").write_text(_told(luksmeta("table", image, "-d", key, "--show-keys")).out)
    device = ("--table", tmp_path / "t", "--device", f"{image}={disk}#offset=3072")
    assert done(luksmeta("read", *device)).raw == plain
    done(luksmeta("write", *device, "-i", _file(tmp_path, b"new")))
    assert done(luksmeta("read", *device)).raw == b"new" + plain[3:]
    refused(luksmeta("read", *device, "-o", disk), 1, "is device")
    refused(luksmeta("table", f"{disk}#offset=3071"), 4, "not a LUKS volume")
    disk.write_bytes(bytes(100) + content)
    refused(luksmeta("table", f"{disk}#offset=100"), 1, "no whole sectors of 512 bytes")
    refused(luksmeta("table", f"{disk}#part=1"), 4, "no part=1")


def test_a_snapshot_and_its_origin_are_parts_of_one_disk(tmp_path: Path) -> None:
    disk, origin = tmp_path / "disk", stream("cli/table/parts", 8192)
    disk.write_bytes(origin + bytes(16384))
    (tmp_path / "t").write_text("0 8 snapshot o c P 1\n")
    options = ("--table", tmp_path / "t", "--device", f"o={disk}")
    for place in (0, 3584):
        device = ("--device", f"c={disk}#offset={place}")
        line = luksmeta("write", *options, *device, "-i", _file(tmp_path, b"x"))
        refused(line, 1, "c: a COW device is one target's alone")
    device = ("--device", f"c={disk}#offset=8192")
    done(luksmeta("write", *options, *device, "-i", _file(tmp_path, b"x")))
    assert disk.read_bytes()[:8192] == origin
    assert done(luksmeta("read", *options, *device)).raw == b"x" + origin[1:4096]


@pytest.mark.parametrize("name", [b"new\nline", b"no \xff text"])
def test_a_name_that_no_table_can_have_is_refused(name: bytes, tmp_path: Path) -> None:
    image = builders.file(tmp_path / os.fsdecode(name), "luks2", FIRST)
    key = key_file(tmp_path)
    for options in ((), ("--json",), ("-d", key, "--show-keys"), ("--keyring",)):
        line = refused(luksmeta("table", image, *options), 1, "argument 4", "--device NAME")
        assert VOLUME_KEY.hex() not in line
    assert done(luksmeta("table", image, "--device", "7:0")).out.count("\n") == 1


def test_the_kernel_takes_no_file_and_is_given_a_loop_device(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "v", "luks2", FIRST)
    line = _told(luksmeta("table", image)).out
    assert done(luksmeta("table", image, "--device", "7:0")).out == line.replace(str(image), "7:0")
    with loop_device(image) as loop:
        answer = done(luksmeta("table", loop)).out
        numbers = loop.stat().st_rdev
        assert answer == line.replace(str(image), f"{os.major(numbers)}:{os.minor(numbers)}")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("read",), ("missing argument 'IMAGE'",)),
        (("read", "{d}/a", "--table", "{d}/t"), ("--table and IMAGE exclude each other",)),
        (("read", "{d}/a", "--device", "a=b"), ("--device is for the devices of a --table",)),
        (("read", "--table", "{d}/t", "--device", "7:0"), ("'7:0': NAME=FILE",)),
        (("read", "--table", "{d}/t", "--device", "7:0=@"), ("'7:0=@': NAME=FILE",)),
        (("read", "--table", "{d}/t", "--device", "=x"), ("'=x': NAME=FILE",)),
        (("read", "--table", "{d}/t"), ("/t: device 7:0 is not given", "--device 7:0=FILE")),
        (
            ("read", "--table", "{d}/t", "--device", "a={d}/a", "--device", "a={d}/b"),
            ("--device a is given twice",),
        ),
        (("read", "--table", "{d}/t", "-d", "x"), ("--key-file has no meaning for --table",)),
        (("read", "--table", "{d}/t", "--type", "plain"), ("--type has no meaning for --table",)),
        (("read", "--table", "{d}/t", "--policy", "x"), ("--policy has no meaning for --table",)),
        (("read", "--table", "{d}/a"), ("/a: is no table: not a text",)),
        (
            ("read", "--table", "{d}/t", "--device", "7:0={d}/a", "-o", "{d}/a"),
            ("/a: is device 7:0 itself",),
        ),
        (("read", "--table", "{d}/t", "-o", "{d}/t"), ("/t: is the volume itself",)),
        (("write", "--table", "{d}/t", "-i", "{d}/t"), ("/t: is the volume itself",)),
        (("table", "{d}/v", "--keyring", "--show-keys"), ("exclude each other",)),
        (("table", "{d}/v1", "--keyring"), ("--keyring is for LUKS2", "LUKS1")),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path
) -> None:
    _disks(tmp_path)
    builders.file(tmp_path / "v", "luks2", FIRST)
    builders.file(tmp_path / "v1", "luks1", FIRST)
    words = [each.format(d=tmp_path) for each in arguments]
    refused(luksmeta(*words), 1, *parts)


def test_a_table_s_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    _disks(tmp_path)
    missing = tmp_path / "missing"
    refused(luksmeta("read", "--table", missing), 1, str(missing), "no such file")
    options = ("--table", tmp_path / "t", "--device", f"7:0={missing}")
    refused(luksmeta("read", *options), 4, str(missing), "no such file")
    key = key_file(tmp_path, SECOND)
    image = builders.file(tmp_path / "v", "luks2", FIRST)
    refused(luksmeta("table", image, "-d", key, "--show-keys"), 2, "no keyslot opens")
    refused(luksmeta("table", image, "-d", key), 2, "no keyslot opens")
