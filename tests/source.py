"""The project's own files, for the tests that read them."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.corpus import PROJECT
from tests.requirement import missing

PACKAGE = "luksmeta"


def kept_files() -> list[Path]:
    """Every file that git keeps or would keep, relative to the project."""
    if not (PROJECT / ".git").exists():
        missing("this is not a git checkout")
    # The checkout may belong to another user than the one who runs the tests.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"]
    listing = subprocess.run(command, cwd=PROJECT, capture_output=True, check=True, text=True)
    paths = sorted({Path(name) for name in listing.stdout.split("\0") if name})
    return [path for path in paths if (PROJECT / path).is_file()]


@dataclass(frozen=True)
class Module:
    """One module of the package; ``name`` is without the package's, "" for the package itself."""

    name: str
    path: Path
    tree: ast.Module

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and full dotted name of everything imported, wherever in the module."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)

    def imported_modules(self) -> Iterator[tuple[int, str]]:
        """Line and name of each module of the package that is imported."""
        for line, name in self.imports():
            package, _, rest = name.partition(".")
            if package == PACKAGE:
                parent = rest.rpartition(".")[0]  # "model.Area" names something in a module
                yield line, rest if rest in module_names() else parent


@cache
def module_names() -> frozenset[str]:
    """The names of the package's modules."""
    return frozenset(module.name for module in modules())


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the package."""
    root = PROJECT / PACKAGE
    return tuple(
        Module(
            name=".".join(path.relative_to(root).with_suffix("").parts)
            .removesuffix("__init__")
            .removesuffix("."),
            path=path.relative_to(PROJECT),
            tree=ast.parse(path.read_text(encoding="utf-8"), str(path)),
        )
        for path in sorted(root.rglob("*.py"))
    )
