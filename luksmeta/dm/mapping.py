"""Volumes through the kernel: made as cryptsetup makes its mappings, and told what they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Self

from luksmeta import requirements
from luksmeta.dm import block_devices, crypt_table, kernel
from luksmeta.dm.crypt_table import KeyedLine
from luksmeta.dm.kernel_keys import with_keyring
from luksmeta.dm.relocation import on_disk
from luksmeta.dm.table import TableLine, print_table
from luksmeta.dm.targets.crypt import NO_KEY
from luksmeta.errors import AlgorithmError, RequirementError
from luksmeta.headerless import HeaderlessVolume
from luksmeta.model import SECTOR_SIZE, Metadata
from luksmeta.secret import SecretBytes
from luksmeta.storage import Storage
from luksmeta.unlocked_volume import UnlockedVolume

_NAMING: Final = "LUKS2"  # as cryptsetup has it
_PREFIX: Final = "CRYPT-"
_SECTOR_SIZE: Final = "sector_size:"
_KINDS: Final = ("LUKS1", "LUKS2", "PLAIN", "LOOPAES", "TCRYPT", "BITLK", "FVAULT2", "INTEGRITY")


@dataclass(frozen=True, slots=True)
class Mappable:
    """An open volume, and how the kernel is to map it; in a part of a disk, the disk's offsets.

    ``kind`` is LUKS1, LUKS2, PLAIN or LOOPAES; ``uuid`` that of the header, empty without one;
    ``keys`` are by the digests that the table names, and stay the volume's.
    """

    kind: str
    uuid: str
    table: tuple[KeyedLine, ...]
    keys: Mapping[int, SecretBytes]
    is_reencrypting: bool = False

    @classmethod
    def luks(
        cls, metadata: Metadata, storage: Storage, device: str, flags: Collection[str] = ()
    ) -> Self:
        """A LUKS volume that is locked; raises what :func:`crypt_table.luks_table` does."""
        table = on_disk(crypt_table.luks_table(metadata, storage, device, flags), storage)
        kind, is_reencrypting = f"LUKS{metadata.version}", requirements.is_reencrypting(metadata)
        return cls(kind, metadata.uuid, table, {}, is_reencrypting)

    @classmethod
    def unlocked(cls, volume: UnlockedVolume, device: str, flags: Collection[str] = ()) -> Self:
        """A LUKS volume with its keys.

        Raises what :meth:`UnlockedVolume.open` does, but for ciphers that only a kernel has.
        """
        with suppress(AlgorithmError):
            volume.open().close()
        found = cls.luks(volume.metadata, volume.data_storage, device, flags)
        return replace(found, keys=volume.keys_by_digest)

    @classmethod
    def headerless(
        cls, volume: HeaderlessVolume, kind: str, device: str, flags: Collection[str] = ()
    ) -> Self:
        """A volume without a header: ``kind`` is PLAIN or LOOPAES."""
        table = on_disk(crypt_table.headerless_table(volume, device, flags), volume.data_storage)
        return cls(kind, "", table, {0: volume.volume_key})


def uuid(volume: Mappable, name: str) -> str:
    """The UUID of a mapping of this volume."""
    return crypt_table.mapping_uuid(volume.kind, name, volume.uuid)


def lines(volume: Mappable, *, use_keyring: bool) -> tuple[TableLine, ...]:
    """The table without its keys: named, or zeroes; only keys of LUKS2 have names."""
    if use_keyring and volume.kind == _NAMING:
        return crypt_table.with_named_keys(volume.table, volume.uuid)
    return tuple(each.line for each in volume.table)


def require_mappable(volume: Mappable) -> None:
    """Raise RequirementError during a reencryption."""
    if volume.is_reencrypting:
        raise RequirementError("a reencryption is under way, and is mapped by its program").advise(
            "cryptsetup open, or reencrypt to finish it"
        )


def create(
    name: str,
    volume: Mappable,
    *,
    is_read_only: bool,
    use_keyring: bool,
    warn: Callable[[str], None],
) -> bool:
    """Map the volume; whether its key is in the keyring, for the table to name.

    Where the kernel has no keyring to give, the key is in the table, after a warning. Raises
    RequirementError during a reencryption, StorageBusyError where the name or the device is in
    use, KernelError.
    """
    require_mappable(volume)
    mapping_uuid = uuid(volume, name)
    if use_keyring and volume.kind == _NAMING:
        keys = {
            crypt_table.key_description(volume.uuid, each.digest): volume.keys[each.digest]
            for each in volume.table
            if each.digest is not None
        }
        with SecretBytes(print_table(lines(volume, use_keyring=True)).encode()) as text:
            try:
                with_keyring(
                    keys,
                    lambda: kernel.create(name, mapping_uuid, text, is_read_only=is_read_only),
                )
            except OSError as error:
                warn(f"the kernel's keyring takes no key ({error.strerror or error})")
            else:
                return True
    with crypt_table.with_keys(volume.table, volume.keys) as text:
        kernel.create(name, mapping_uuid, text, is_read_only=is_read_only)
    return False


def kind_of(mapping: kernel.Mapping) -> str:
    """LUKS2, PLAIN and the like; empty where it is no mapping of cryptsetup's kind."""
    kind = mapping.uuid.removeprefix(_PREFIX).partition("-")[0]
    return kind if mapping.uuid.startswith(_PREFIX) and kind in _KINDS else ""


def describe_segment(line: TableLine) -> dict[str, object]:
    """What a line of the kernel's table shows; sizes and offsets in bytes, the key's in bits."""
    found: dict[str, object] = {"target": line.target, "size": line.length * SECTOR_SIZE}
    if line.target != "crypt":
        return found
    cipher, key, iv_offset, device, start, *options = line.arguments  # as the kernel prints it
    flags = [word for word in options[1:] if not word.startswith(_SECTOR_SIZE)]
    sizes = [word.removeprefix(_SECTOR_SIZE) for word in options[1:] if word not in flags]
    return {
        **found,
        "cipher": cipher,
        "key_size": _key_size(key),
        "key_location": "keyring" if key.startswith(":") else "dm-crypt",
        "device": block_devices.device_path(device),
        "loop": block_devices.backing_file(device),
        "offset": int(start) * SECTOR_SIZE,
        "iv_offset": int(iv_offset),
        "sector_size": int(sizes[0]) if sizes else SECTOR_SIZE,
        "flags": flags,
    }


def has_integrity(line: TableLine) -> bool:
    """Whether another mapping lies below, with the integrity tags."""
    return any(word.startswith("integrity:") for word in line.arguments[5:])


def _key_size(word: str) -> int:
    if word == NO_KEY:
        return 0
    return int(word.split(":")[1]) * 8 if word.startswith(":") else len(word) * 4
