"""LUKS volumes without root: format, unlock, manage keyslots, read, write and inspect.

The names below are imported when they are first used: a command that only looks at a header must
not wait for ciphers and key derivation.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luksmeta.copy_diagnosis import CopyDiagnosis
    from luksmeta.diagnosis import Diagnosis, diagnose
    from luksmeta.dm.devices import Devices
    from luksmeta.dm.mapped_device import MappedDevice, TableVolume, open_table
    from luksmeta.dm.table import TableError, TableLine, parse_table
    from luksmeta.errors import (
        AlgorithmError,
        ChecksumError,
        FilesystemToolError,
        HeaderError,
        JsonAreaFullError,
        KeyslotError,
        KeyslotNotFoundError,
        KeyslotsAreaFullError,
        KeyslotsUntriedError,
        LuksError,
        MetadataError,
        MissingExtraError,
        NotLuksError,
        PassphraseError,
        PolicyError,
        RequirementError,
        ResourceLimitError,
        SealError,
        Severity,
        StorageBusyError,
        StorageError,
        StorageExistsError,
        StoragePermissionError,
        TokenError,
        UnsupportedError,
        VerificationError,
        VersionError,
        Violation,
        VolumeKeyError,
    )
    from luksmeta.file_storage import FileStorage
    from luksmeta.forensics.findings import Finding, Scan
    from luksmeta.forensics.guessing.guesses import Guesses, WordList
    from luksmeta.forensics.guessing.rules import load_rules
    from luksmeta.forensics.guessing.search import FoundPassphrase, find_passphrase
    from luksmeta.forensics.inspector import Inspection, inspect
    from luksmeta.forensics.recovery.recovery import Recovery, recover
    from luksmeta.forensics.report.case_report import CaseReport, case_report
    from luksmeta.forensics.scanner import scan
    from luksmeta.headerless import HeaderlessVolume
    from luksmeta.images.encrypting_copy import EncryptedImage, encrypt_image
    from luksmeta.images.filesystem_images import filesystem_image
    from luksmeta.images.raw_image import RawImage
    from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Limits, Pbkdf, Pbkdf2
    from luksmeta.loopaes import open_loopaes
    from luksmeta.model import KeyslotPriority, Metadata
    from luksmeta.new_volume import format  # luksmeta.format, the verb of luksFormat
    from luksmeta.plain import open_plain
    from luksmeta.secret import SecretBytes
    from luksmeta.segment_stream import SegmentStream
    from luksmeta.storage import MemoryStorage, SliceStorage, Storage
    from luksmeta.tokens.notes import Note
    from luksmeta.trust.changes import SealFault, SealFinding
    from luksmeta.trust.check import Report, check
    from luksmeta.trust.fleet import check_all
    from luksmeta.trust.measure import measure
    from luksmeta.trust.opening import open  # luksmeta.open, as gzip.open
    from luksmeta.trust.policy import Policy
    from luksmeta.trust.rule import PolicyFinding
    from luksmeta.trust.terms import SealTerms
    from luksmeta.trust.verification import SealVerification
    from luksmeta.unlocked_volume import UnlockedVolume
    from luksmeta.volume import Volume

__version__ = "0.1.0"

__all__ = [
    "AlgorithmError",
    "Argon2i",
    "Argon2id",
    "CaseReport",
    "ChecksumError",
    "CopyDiagnosis",
    "Devices",
    "Diagnosis",
    "EncryptedImage",
    "FileStorage",
    "FilesystemToolError",
    "Finding",
    "FoundPassphrase",
    "Guesses",
    "HeaderError",
    "HeaderlessVolume",
    "Inspection",
    "JsonAreaFullError",
    "KeyslotError",
    "KeyslotNotFoundError",
    "KeyslotPriority",
    "KeyslotsAreaFullError",
    "KeyslotsUntriedError",
    "Limits",
    "LuksError",
    "MappedDevice",
    "MemoryStorage",
    "Metadata",
    "MetadataError",
    "MissingExtraError",
    "NotLuksError",
    "Note",
    "PassphraseError",
    "Pbkdf",
    "Pbkdf2",
    "Policy",
    "PolicyError",
    "PolicyFinding",
    "RawImage",
    "Recovery",
    "Report",
    "RequirementError",
    "ResourceLimitError",
    "Scan",
    "SealError",
    "SealFault",
    "SealFinding",
    "SealTerms",
    "SealVerification",
    "SecretBytes",
    "SegmentStream",
    "Severity",
    "SliceStorage",
    "Storage",
    "StorageBusyError",
    "StorageError",
    "StorageExistsError",
    "StoragePermissionError",
    "TableError",
    "TableLine",
    "TableVolume",
    "TokenError",
    "UnlockedVolume",
    "UnsupportedError",
    "VerificationError",
    "VersionError",
    "Violation",
    "Volume",
    "VolumeKeyError",
    "WordList",
    "__version__",
    "case_report",
    "check",
    "check_all",
    "diagnose",
    "encrypt_image",
    "filesystem_image",
    "find_passphrase",
    "format",
    "inspect",
    "load_rules",
    "measure",
    "open",
    "open_loopaes",
    "open_plain",
    "open_table",
    "parse_table",
    "recover",
    "scan",
]

_HOMES = {
    "luksmeta.copy_diagnosis": ("CopyDiagnosis",),
    "luksmeta.diagnosis": ("Diagnosis", "diagnose"),
    "luksmeta.dm.devices": ("Devices",),
    "luksmeta.dm.mapped_device": (
        "MappedDevice",
        "TableVolume",
        "open_table",
    ),
    "luksmeta.dm.table": (
        "TableError",
        "TableLine",
        "parse_table",
    ),
    "luksmeta.errors": (
        "AlgorithmError",
        "ChecksumError",
        "FilesystemToolError",
        "HeaderError",
        "JsonAreaFullError",
        "KeyslotError",
        "KeyslotNotFoundError",
        "KeyslotsAreaFullError",
        "KeyslotsUntriedError",
        "LuksError",
        "MetadataError",
        "MissingExtraError",
        "NotLuksError",
        "PassphraseError",
        "PolicyError",
        "RequirementError",
        "ResourceLimitError",
        "SealError",
        "Severity",
        "StorageBusyError",
        "StorageError",
        "StorageExistsError",
        "StoragePermissionError",
        "TokenError",
        "UnsupportedError",
        "VerificationError",
        "VersionError",
        "Violation",
        "VolumeKeyError",
    ),
    "luksmeta.forensics.guessing.guesses": ("Guesses", "WordList"),
    "luksmeta.forensics.guessing.rules": ("load_rules",),
    "luksmeta.forensics.guessing.search": ("FoundPassphrase", "find_passphrase"),
    "luksmeta.file_storage": ("FileStorage",),
    "luksmeta.forensics.findings": ("Finding", "Scan"),
    "luksmeta.forensics.scanner": ("scan",),
    "luksmeta.forensics.inspector": ("Inspection", "inspect"),
    "luksmeta.forensics.report.case_report": ("CaseReport", "case_report"),
    "luksmeta.forensics.recovery.recovery": ("Recovery", "recover"),
    "luksmeta.headerless": ("HeaderlessVolume",),
    "luksmeta.images.encrypting_copy": ("EncryptedImage", "encrypt_image"),
    "luksmeta.images.filesystem_images": ("filesystem_image",),
    "luksmeta.images.raw_image": ("RawImage",),
    "luksmeta.kdf.pbkdf": (
        "Argon2i",
        "Argon2id",
        "Limits",
        "Pbkdf",
        "Pbkdf2",
    ),
    "luksmeta.loopaes": ("open_loopaes",),
    "luksmeta.model": (
        "KeyslotPriority",
        "Metadata",
    ),
    "luksmeta.new_volume": ("format",),
    "luksmeta.plain": ("open_plain",),
    "luksmeta.secret": ("SecretBytes",),
    "luksmeta.segment_stream": ("SegmentStream",),
    "luksmeta.storage": ("MemoryStorage", "SliceStorage", "Storage"),
    "luksmeta.tokens.notes": ("Note",),
    "luksmeta.trust.changes": (
        "SealFault",
        "SealFinding",
    ),
    "luksmeta.trust.measure": ("measure",),
    "luksmeta.trust.terms": ("SealTerms",),
    "luksmeta.trust.verification": ("SealVerification",),
    "luksmeta.unlocked_volume": ("UnlockedVolume",),
    "luksmeta.trust.check": (
        "Report",
        "check",
    ),
    "luksmeta.trust.fleet": ("check_all",),
    "luksmeta.trust.opening": ("open",),
    "luksmeta.trust.policy": ("Policy",),
    "luksmeta.trust.rule": ("PolicyFinding",),
    "luksmeta.volume": ("Volume",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name from its module, once (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
