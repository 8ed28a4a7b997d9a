"""Disk images inside container files, and parts of disks by name, as evidence.

``disk.qcow2#part=2`` is the second partition of that image, ``disk.raw#part=3,lv=vg0/root`` a
logical volume in the third, ``disk.raw#lv=vg0/root`` one without partitions around it. A file whose
name is all of that is that file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from luksmeta.disks import dissect
from luksmeta.disks.dissect import StorageFile
from luksmeta.disks.parts import split_name
from luksmeta.disks.places import place_named
from luksmeta.errors import StorageError, UnsupportedError
from luksmeta.extents import Extent
from luksmeta.forensics.evidence import Evidence, EvidenceFile, MappedEvidence
from luksmeta.forensics.ewf import EwfDisk
from luksmeta.forensics.ewf_segments import MAGIC as EWF_MAGIC
from luksmeta.forensics.ewf_segments import open_segments
from luksmeta.forensics.read_log import ReadLog
from luksmeta.forensics.virtual_disks import JoinedEvidence, SectorStream, StreamEvidence
from luksmeta.model import SECTOR_SIZE
from luksmeta.storage import Storage
from luksmeta.target import Target, opened

_START: Final = 512  # where every magic is
_EXTENTS_MAX: Final = 1024
_DESCRIPTOR_MAX: Final = 64 << 10
_PARENT: Final = re.compile(rb"parentCID=([0-9a-fA-F]{8})")
_NO_PARENT: Final = b"ffffffff"


class _Files:
    """The files of one image: opened as evidence, and closed together."""

    def __init__(self, path: Path, first: EvidenceFile, log: ReadLog | None) -> None:
        self.path = path
        self.first = first
        self._log = log
        self._stack = ExitStack()
        self._stack.push(first)

    def beside(self, name: str, what: str) -> EvidenceFile:
        """A file of this name in the same folder: an image must not lead anywhere else."""
        if not name or Path(name).name != name:
            raise StorageError(
                f"its {what} {name!r} is not a plain name; only the image's own folder is looked at"
            ).about(str(self.path))
        return self._stack.enter_context(EvidenceFile(self.path.with_name(name), self._log))

    def stream(self, stream: Any, size: int, step: int | None = None) -> StreamEvidence:  # noqa: ANN401  # dissect's
        """The virtual disk, which closes the files."""
        return StreamEvidence(str(self.path), stream, size, self.close, step=step)

    def close(self) -> None:
        """Close them."""
        self._stack.close()


def _qcow2(files: _Files) -> Evidence:
    qcow2 = dissect.module("dissect.hypervisor.disk.qcow2", "a qcow2 image")
    image = qcow2.QCow2(
        StorageFile(files.first), allow_no_backing_file=True, allow_no_data_file=True
    )
    parts: dict[str, StorageFile] = {}
    if image.needs_backing_file:
        backing = files.beside(image.auto_backing_file, "backing file")
        if container_of(backing) not in (None, FORMATS[0]):
            raise UnsupportedError("a backing file that is neither qcow2 nor raw").about(
                backing.name
            )
        parts["backing_file"] = StorageFile(backing)
    if image.needs_data_file:
        parts["data_file"] = StorageFile(files.beside(image.image_data_file, "data file"))
    if parts:
        image = qcow2.QCow2(StorageFile(files.first), **parts)
    return files.stream(image.open(), image.size)


def _vmdk(files: _Files) -> Evidence:
    vmdk = dissect.module("dissect.hypervisor.disk.vmdk", "a vmdk image")
    start = files.first.read_at(0, min(_DESCRIPTOR_MAX, files.first.size))
    parent = _PARENT.search(start)
    if parent is not None and parent[1].lower() != _NO_PARENT:
        raise _has_parent()
    if not start.startswith(b"# Di"):
        image = vmdk.VMDK(StorageFile(files.first))
        return files.stream(image, image.size)
    extents = vmdk.DiskDescriptor.parse(start.decode()).extents
    if not 0 < len(extents) <= _EXTENTS_MAX:
        raise StorageError(f"{len(extents)} extents, 1 to {_EXTENTS_MAX} are read")
    parts = [_vmdk_extent(files, vmdk, extent) for extent in extents]
    joined = JoinedEvidence(str(files.path), parts)
    return files.stream(StorageFile(joined), joined.size)


def _vmdk_extent(files: _Files, vmdk: Any, extent: Any) -> Storage:  # noqa: ANN401  # dissect's
    """One of the files of a disk in several."""
    file = files.beside(extent.filename, "extent")
    if extent.type in ("FLAT", "VMFS"):
        start = int(extent.start_sector or 0) * SECTOR_SIZE
        return MappedEvidence(file, [Extent(start, extent.sectors * SECTOR_SIZE)], file.name)
    if extent.type not in ("SPARSE", "VMFSSPARSE", "SESPARSE"):
        raise UnsupportedError(f"an extent of type {extent.type} is not read here")
    disk = vmdk.SparseDisk(StorageFile(file))
    return StreamEvidence(file.name, SectorStream(disk), disk.size)


def _vdi(files: _Files) -> Evidence:
    vdi = dissect.module("dissect.hypervisor.disk.vdi", "a vdi image")
    image = vdi.VDI(StorageFile(files.first))
    if int(image.type) not in (1, 2):  # VDI_IMAGE_TYPE: normal and fixed
        raise _has_parent()
    # dissect.hypervisor 3.21 takes a read of several blocks for one of neighbours in the file.
    return files.stream(image.open(), image.size, step=image.block_size)


def _vhdx(files: _Files) -> Evidence:
    vhdx = dissect.module("dissect.hypervisor.disk.vhdx", "a vhdx image")
    try:
        image = vhdx.VHDX(StorageFile(files.first))
    except AttributeError as error:  # it looks for the parent's folder, and has got no path
        raise _has_parent() from error
    return files.stream(image, image.size)


def _vhd(files: _Files) -> Evidence:
    vhd = dissect.module("dissect.hypervisor.disk.vhd", "a vhd image")
    image = vhd.VHD(StorageFile(files.first))
    return files.stream(image, image.size)


def _ewf(files: _Files) -> Evidence:
    segments = open_segments(
        files.path, files.first, lambda name: files.beside(name, "next segment")
    )
    return EwfDisk(str(files.path), segments, files.close)


def _unread(_files: _Files) -> Evidence:
    raise UnsupportedError("an Ex01 image (EnCase 7) is not read here").advise(
        "ewfexport makes a raw one"
    )


def _has_parent() -> UnsupportedError:
    return UnsupportedError("holds what differs from a parent image, which is not followed").advise(
        "qemu-img convert -O raw makes a whole disk of both"
    )


@dataclass(frozen=True, slots=True)
class ContainerFormat:
    """A container format: the magic that tells it, and how its virtual disk is opened."""

    name: str
    offset: int
    magic: bytes
    open: Callable[[_Files], Evidence]


FORMATS: Final = (
    ContainerFormat("qcow2", 0, b"QFI\xfb", _qcow2),
    ContainerFormat("vmdk", 0, b"KDMV", _vmdk),
    ContainerFormat("vmdk", 0, b"COWD", _vmdk),
    ContainerFormat("vmdk", 0, b"# Disk DescriptorFile", _vmdk),
    ContainerFormat("vdi", 64, bytes.fromhex("7f10dabe"), _vdi),
    ContainerFormat("vhdx", 0, b"vhdxfile", _vhdx),
    ContainerFormat("vhd", 0, b"conectix", _vhd),
    ContainerFormat("E01", 0, EWF_MAGIC, _ewf),
    ContainerFormat("Ex01", 0, b"EVF2\x0d\x0a\x81\x00", _unread),
)


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """A disk, and the name of the container format it came in; None for raw."""

    storage: Storage
    container: str | None


def open_image(path: str, log: ReadLog | None = None, *, raw: bool = False) -> OpenedImage:
    """The disk in an image file or device; ``raw`` takes a container's own bytes.

    Raises StorageError for what cannot be read, MissingExtraError where a library is missing,
    UnsupportedError for an image that needs its parent.
    """
    file = EvidenceFile(path, log)
    with ExitStack() as stack:
        files = stack.enter_context(closing(_Files(Path(path), file, log)))
        found = None if raw else container_of(file)
        storage: Evidence = file
        if found is not None:
            with dissect.parsing(path, f"{found.name} image"):
                storage = found.open(files)
        stack.pop_all()
        return OpenedImage(storage, None if found is None else found.name)


def open_evidence(name: str, log: ReadLog | None = None, *, raw: bool = False) -> OpenedImage:
    """The same, or a part of it: ``disk.qcow2#part=2``; StorageError where there is none."""
    path, part = split_name(name)
    opened = open_image(path, log, raw=raw)
    if not part:
        return opened
    try:
        place = place_named(opened.storage, part)
        evidence = MappedEvidence(opened.storage, place.extents, name)
        return OpenedImage(evidence, opened.container)
    except BaseException:
        opened.storage.close()
        raise


@contextmanager
def evidence_of(target: Target, log: ReadLog | None = None) -> Iterator[Storage]:
    """The storage of what a caller names, a path as evidence; only what is opened here is closed.

    Raises what :func:`open_evidence` does.
    """
    if isinstance(target, str | os.PathLike):
        with open_evidence(os.fspath(target), log).storage as storage:
            yield storage
        return
    with opened(target) as storage:
        yield storage


def container_of(file: Storage) -> ContainerFormat | None:
    """The format that the file's magic tells; None: it is a disk itself."""
    start = file.read_at(0, min(_START, file.size))
    return next((each for each in FORMATS if start.startswith(each.magic, each.offset)), None)
