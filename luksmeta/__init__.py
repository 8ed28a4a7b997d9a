"""LUKS volumes without root: format, unlock, manage keyslots, read, write and inspect."""

from luksmeta.errors import (
    AlgorithmError,
    ChecksumError,
    HeaderError,
    KeyslotError,
    KeyslotNotFoundError,
    KeyslotsAreaFullError,
    LuksError,
    MetadataError,
    NotLuksError,
    PassphraseError,
    PolicyError,
    RequirementError,
    ResourceLimitError,
    StorageBusyError,
    StorageError,
    StoragePermissionError,
    UnsupportedError,
    VersionError,
    Violation,
    VolumeKeyError,
)
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Limits, Pbkdf, Pbkdf2
from luksmeta.model import KeyslotPriority, Metadata
from luksmeta.new_volume import format  # noqa: A004  # luksmeta.format, the verb of luksFormat
from luksmeta.secret import SecretBytes
from luksmeta.segment_stream import SegmentStream
from luksmeta.storage import FileStorage, MemoryStorage, SliceStorage, Storage
from luksmeta.unlocked_volume import UnlockedVolume
from luksmeta.volume import Volume, open  # noqa: A004  # luksmeta.open, as gzip.open

__version__ = "0.1.0"

__all__ = [
    "AlgorithmError",
    "Argon2i",
    "Argon2id",
    "ChecksumError",
    "FileStorage",
    "HeaderError",
    "KeyslotError",
    "KeyslotNotFoundError",
    "KeyslotPriority",
    "KeyslotsAreaFullError",
    "Limits",
    "LuksError",
    "MemoryStorage",
    "Metadata",
    "MetadataError",
    "NotLuksError",
    "PassphraseError",
    "Pbkdf",
    "Pbkdf2",
    "PolicyError",
    "RequirementError",
    "ResourceLimitError",
    "SecretBytes",
    "SegmentStream",
    "SliceStorage",
    "Storage",
    "StorageBusyError",
    "StorageError",
    "StoragePermissionError",
    "UnlockedVolume",
    "UnsupportedError",
    "VersionError",
    "Violation",
    "Volume",
    "VolumeKeyError",
    "__version__",
    "format",
    "open",
]
