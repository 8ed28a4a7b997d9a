"""Many headers: where they are found, in which order they are told, and who does the work."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import luksmeta
from luksmeta import check_all
from luksmeta.trust import fleet, parquet, sarif
from luksmeta.trust.rows import Row
from tests import builders
from tests.trust.attacks import ATTACKS
from tests.trust.images import document_of, good_image, with_copies, with_document

HEADER = 32 << 10  # bytes: both copies


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good volumes, an attacked one, and what is none; sparse behind the header copies."""
    (tmp_path / "sub").mkdir()
    bad = next(each for each in ATTACKS if each.name == "null-cipher-in-segment")
    for name, content in (
        ("a.img", good_image()),
        ("sub/b.img", bad.change(good_image())),
        ("sub/c.img", good_image()),
        ("d.txt", b"no header\n"),
    ):
        _write_sparse(tmp_path / name, content)
    return tmp_path


def _write_sparse(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content[:HEADER])
        file.truncate(len(content))


def told(rows: Iterator[Row], folder: Path) -> list[tuple[str, bool, str | None]]:
    """What the rows say, with names relative to the folder."""
    return [
        (row.image.removeprefix("file://").removeprefix(f"{folder}/"), row.holds, row.error)
        for row in rows
    ]


EVERYTHING = [
    ("a.img", True, None),
    ("d.txt", False, "not a LUKS volume"),
    ("sub/b.img", False, None),
    ("sub/c.img", True, None),
]


def test_every_file_below_a_folder_is_checked_in_order(folder: Path) -> None:
    assert told(check_all([folder], "confidential-vm"), folder) == EVERYTHING


def test_globs_files_and_what_is_missing_keep_the_order_they_are_named_in(folder: Path) -> None:
    targets: list[str | Path] = [
        folder / "sub/*.img",
        folder / "missing",
        folder / "a.img",
        f"{folder}/**/*.txt",
    ]
    assert told(check_all(targets), folder) == [
        ("sub/b.img", False, None),
        ("sub/c.img", True, None),
        ("missing", False, "no such file or directory"),
        ("a.img", True, None),
        ("d.txt", False, "not a LUKS volume"),
    ]


def test_a_file_whose_name_is_a_glob_is_that_file(folder: Path) -> None:
    (folder / "a.img").rename(folder / "[a].img")
    assert told(check_all([folder / "[a].img"]), folder) == [("[a].img", True, None)]


def test_a_row_has_the_status_of_its_error(folder: Path) -> None:
    rows = list(check_all([folder / "d.txt", folder / "missing", folder / "a.img"]))
    assert [row.status for row in rows] == [4, 4, 0]
    assert [len(row.findings) for row in rows] == [1, 0, 0]


def test_processes_say_the_same_as_none(folder: Path) -> None:
    images = [folder, folder / "missing", *[folder / "a.img"] * (2 * fleet.CHUNK)]
    alone = list(check_all(images, "strict", jobs=1))
    assert list(check_all(images, "strict", jobs=2)) == alone
    assert len(alone) == 5 + 2 * fleet.CHUNK


def test_a_consumer_that_stops_early_leaves_no_process_behind(folder: Path) -> None:
    rows = check_all([folder / "a.img"] * (8 * fleet.CHUNK), jobs=2)
    assert next(iter(rows)).holds
    assert isinstance(rows, Iterator)
    rows.close()  # type: ignore[attr-defined]  # a generator


def test_urls_are_read_through_fsspec(folder: Path) -> None:
    assert told(check_all([f"file://{folder}/a.img"]), folder) == [("a.img", True, None)]
    assert told(check_all([f"file://{folder}/sub/*.img"]), folder) == [
        ("sub/b.img", False, None),
        ("sub/c.img", True, None),
    ]
    assert told(check_all([f"file://{folder}"]), folder) == EVERYTHING
    (missing,) = check_all([f"file://{folder}/missing"])
    assert not missing.holds
    assert "FileNotFoundError" in (missing.error or "")
    (unknown,) = check_all(["nosuch://bucket/*"])
    assert (unknown.status, "nosuch" in (unknown.error or "")) == (4, True)


def test_a_remote_object_is_not_read_whole() -> None:
    import fsspec

    asked: list[int] = []
    image = good_image()

    class Remote(fsspec.spec.AbstractBufferedFile):  # type: ignore[misc]  # without types
        def _fetch_range(self, start: int, end: int) -> bytes:
            asked.append(end - start)
            return image[start:end]

    class Counting(fsspec.AbstractFileSystem):  # type: ignore[misc]  # without types
        protocol = "counting"

        def info(self, path: str, **_: Any) -> dict[str, Any]:  # noqa: ANN401  # fsspec's
            return {"name": path, "size": len(image), "type": "file"}

        def _open(self, path: str, mode: str = "rb", block_size: int = 0, **_: Any) -> Remote:  # noqa: ANN401
            return Remote(self, path, mode, block_size, size=len(image))

    fsspec.register_implementation("counting", Counting, clobber=True)
    (row,) = check_all(["counting://bucket/volume"], "confidential-vm")
    assert (row.holds, row.image) == (True, "counting://bucket/volume")
    assert sum(asked) < len(image) / 10


def test_a_dask_cluster_says_the_same(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dask's own, about itself
        from distributed import LocalCluster

        options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1, "processes": True}
        with LocalCluster(dashboard_address=None, **options) as cluster:  # type: ignore[no-untyped-call]
            rows = check_all(
                [folder, folder / "missing"], "strict", scheduler=cluster.scheduler_address
            )
            assert list(rows) == list(check_all([folder, folder / "missing"], "strict"))


def test_rows_come_back_from_parquet(folder: Path) -> None:
    from pyarrow.parquet import read_table

    path = folder.parent / "rows.parquet"
    with path.open("wb") as file:
        rows = list(parquet.through(check_all([folder]), file))
    records = read_table(path).to_pylist()
    assert [row.describe() for row in rows] == [
        {name: record[name] for name in rows[0].describe()} for record in records
    ]
    assert [(each["errors"], each["warnings"]) for each in records] == [
        (0, 0),
        (1, 0),
        (2, 0),
        (0, 0),
    ]


def test_whatever_a_header_says_it_can_be_stored(tmp_path: Path) -> None:
    from pyarrow.parquet import read_table

    document = document_of(good_image())
    document["segments"]["0"]["\udcff"] = document["segments"]["0"]["encryption"] = "\udcfe"
    named = bytearray(with_document(good_image(), document))
    image = tmp_path / "\udcff.img"
    image.write_bytes(with_copies(bytes(named), lambda copy: copy.__setitem__(24, 0xFF)))
    path = tmp_path / "rows.parquet"
    with path.open("wb") as file:
        (row,) = parquet.through(check_all([image]), file)
    assert {each.rule for each in row.findings} == {"header-members", "segment-cipher"}
    (record,) = read_table(path).to_pylist()
    assert (record["label"], row.label) == ("\\udcff", "\udcff")
    assert sarif.log([row], "1")


def test_no_rows_are_a_parquet_file_of_none(tmp_path: Path) -> None:
    from pyarrow.parquet import read_table

    path = tmp_path / "rows.parquet"
    with path.open("wb") as file:
        assert list(parquet.through([], file)) == []
    assert read_table(path).num_rows == 0


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("fsspec", {"targets": ["s3://bucket/volume"]}),
        ("distributed", {"targets": ["x"], "scheduler": "tcp://192.0.2.1:1"}),
    ],
)
def test_a_missing_extra_is_named(
    module: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"needs {module}, which comes with luksmeta\[fleet\]"):
        list(check_all(**arguments))


def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with (tmp_path / "x").open("wb") as file, pytest.raises(ValueError, match=r"luksmeta\[fleet\]"):
        list(parquet.through([], file))


def test_what_is_no_policy_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        next(check_all(["x"], "nonsense"))


def test_a_luks1_header_has_a_row_too(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "volume.img", "luks1")
    (row,) = check_all([path])
    assert (row.format, row.uuid, row.label) == ("luks1", luksmeta.open(path).uuid, "")
    assert row.describe()["image"] == str(path)
