"""Which way imports point: a module sees its own row and those above, never one below."""

from __future__ import annotations

import ast
import subprocess
import sys
from fnmatch import fnmatchcase

import pytest

from tests.source import Module, modules

ROWS = (
    (
        "errors",
        "closing",
        "secret",
        "random_bytes",
        "extents",
        "range_lock",
        "rules",
        "sizes",
        "texts",
        "uuids",
    ),
    (
        "system_errors",
        "storage",
        "file_storage",
        "target",
        "overlay",
        "locking",
        "loop_devices",
        "data_lock",
        "disks",
        "disks.*",
        "holes",
        "write_plan",
        "binary",
        "signatures",
        "kdf",
        "kdf.*",
        "sector",
        "sector.*",
    ),
    ("model", "header_copies"),
    ("luks1", "luks1.*", "luks2", "luks2.*"),
    (
        "volume_key",
        "keyslot",
        "segment",
        "segment_stream",
        "plaintext_device",
        "copying",
        "reencryption",
        "requirements",
        "tokens",
        "tokens.*",
        "unlocking",
    ),
    (
        "header",
        "stored_header",
        "volume",
        "opening",
        "unlocked_volume",
        "volume_tokens",
        "new_volume",
        "header_change",
        "new_keyslot",
        "key_management",
        "digests",
        "area_routes",
        "moving",
        "resizing",
        "configuration",
        "erasure",
        "format_options",
        "formatting",
        "headerless",
        "plain",
        "loopaes",
        "trust",
        "trust.canonical",
        "trust.changes",
        "trust.seal",
        "trust.sealing",
        "trust.terms",
        "trust.verification",
    ),
    (
        "backup",
        "restoring",
        "copy_diagnosis",
        "diagnosis",
        "repair",
        "repair_fields",
        "benchmark",
        "openssl_speed",
        "description",
        "comparison",
        "prepared_change",
        "convertible",
        "convert_plans",
        "convert",
        "trust.*",
        "fuse",
        "fuse.*",
        "nbd",
        "nbd.*",
        "forensics",
        "forensics.*",
        "dm",
        "dm.*",
        "images",
        "images.*",
    ),
    ("cli", "cli.*", "__main__", ""),  # "" is the package itself: its public names
)
APART = (  # importer, imported
    ("luks1*", "luks2*"),
    ("luks2*", "luks1*"),
    ("kdf*", "*storage"),
    ("sector*", "*storage"),
    *((module, "luks[12]*") for module in ROWS[4]),  # these never ask which version
)
THIRD_PARTY = {  # and who may import it
    "_argon2_cffi_bindings": "kdf.*",
    "argon2": "kdf.*",
    "click": "cli*",
    "construct": "*",
    "cryptography": "*",
    "dissect": "disks.*",
    "mfusepy": "fuse.*",
    "pyarrow": "trust.parquet",
    "rich": "cli*",
}
SLOW_TO_IMPORT = ("argon2", "click", "cryptography", "ctypes.util", "rich")

every_module = pytest.mark.parametrize("module", modules(), ids=lambda module: str(module.path))


def row_of(name: str) -> int:
    """The number of a module's row, from 1."""
    for number, patterns in enumerate(ROWS, start=1):
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            return number
    raise LookupError(f"module {name!r} has no row: give it one, here and in the architecture")


@every_module
def test_a_module_imports_only_from_its_own_row_and_above(module: Module) -> None:
    own = row_of(module.name)
    below = [
        f"{module.path}:{line}: row {own} imports {name} of row {row_of(name)}"
        for line, name in module.imported_modules()
        if row_of(name) > own
    ]
    assert not below, "\n".join(below)


@every_module
def test_modules_that_are_kept_apart_do_not_import_each_other(module: Module) -> None:
    crossing = [
        f"{module.path}:{line}: {module.name} must not know {name}"
        for line, name in module.imported_modules()
        for importer, imported in APART
        if fnmatchcase(module.name, importer) and fnmatchcase(name, imported)
    ]
    assert not crossing, "\n".join(crossing)


@every_module
def test_a_module_imports_only_the_dependencies_it_may(module: Module) -> None:
    allowed = {
        name
        for name, importer in THIRD_PARTY.items()
        if row_of(module.name) > 1 and fnmatchcase(module.name, importer)
    }
    allowed |= {*sys.stdlib_module_names, "luksmeta", "_typeshed"}  # the last: only for the checker
    strangers = [
        f"{module.path}:{line}: {name}"
        for line, name in module.imports()
        if name.partition(".")[0] not in allowed
    ]
    assert not strangers, "\n".join(strangers)


@every_module
def test_no_assert_statement_is_in_the_package(module: Module) -> None:
    lines = [node.lineno for node in ast.walk(module.tree) if isinstance(node, ast.Assert)]
    assert not lines, f"{module.path}: python -O drops the assert statements of lines {lines}"


@every_module
def test_only_the_command_line_prints(module: Module) -> None:
    lines = [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name) and node.id == "print"
    ]
    assert not lines or fnmatchcase(module.name, "cli*"), f"{module.path}: print in {lines}"


def test_importing_the_package_imports_nothing_slow() -> None:
    script = "import sys, luksmeta; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    imported = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    assert "luksmeta" in imported
    assert not set(SLOW_TO_IMPORT) & set(imported)
