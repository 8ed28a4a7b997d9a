"""Policies: what a header must be like to be used, as data.

A policy is a TOML file of a few tables, whose keys are those of the rules
(:data:`luksmeta.trust.rules.RULES`). What it does not set is not looked at, but for the rules that
always hold: a header can be read, and no cipher is a null cipher.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Final, Self, TypeAlias

from luksmeta.errors import Severity
from luksmeta.system_errors import reason
from luksmeta.trust.rule import PolicyFinding, PolicyRule, Subject
from luksmeta.trust.rules import BY_KEY, BY_NAME, RULES

NAMES: Final = ("default", "strict", "confidential-vm", "fips", "legacy-audit")
"""The policies that are part of the package."""

Source: TypeAlias = "str | os.PathLike[str] | Policy"
"""A policy, or the name of one that is part of the package, or a policy file."""

_FILE_MAX: Final = 64 << 10  # bytes
_FINDINGS_MAX: Final = 1000
_SEVERITIES: Final = "severity"
_ABOUT: Final = ("name", "description", "extends")


@dataclass(frozen=True)
class Policy:
    """What a header must be like: a setting for each rule that counts, by the rule's key.

    ``severities`` are those that differ from the rules' own.
    """

    name: str
    description: str
    settings: Mapping[str, object]
    severities: Mapping[str, Severity]

    @classmethod
    def load(cls, source: Source) -> Policy:
        """The policy of a name or in a file.

        Raises ValueError for what is neither, and for a file that is no policy.
        """
        if isinstance(source, Policy):
            return source
        name = os.fspath(source)
        if name in NAMES:
            return built_in(name)
        try:
            with Path(name).open("rb") as file:
                data = file.read(_FILE_MAX + 1)
        except FileNotFoundError:
            known = ", ".join(NAMES)
            raise ValueError(f"policy {name!r}: no such file, and none of {known}") from None
        except OSError as error:
            raise ValueError(f"policy {name!r}: {reason(error)}") from None
        if len(data) > _FILE_MAX:
            raise ValueError(f"policy {name!r}: more than {_FILE_MAX} bytes")
        return cls.from_toml(data, Path(name).stem)

    @classmethod
    def from_toml(cls, data: bytes | str, name: str = "policy") -> Policy:
        """The policy that a TOML text says; ValueError names the key that it cannot be."""
        document = _parsed(data, name)
        base = document.get("extends")
        if base is not None and base not in NAMES:
            raise ValueError(
                f"policy {name}: extends {base!r}, which is none of {', '.join(NAMES)}"
            )
        policy = EMPTY if base is None else built_in(str(base))
        try:
            return replace(
                policy,
                name=_about(document, "name", name),
                description=_about(document, "description", ""),
                settings={**policy.settings, **_settings(document)},
                severities={**policy.severities, **_severities(document)},
            )
        except ValueError as error:
            raise ValueError(f"policy {name}: {error}") from None

    def expecting(
        self,
        *,
        uuid: str | None = None,
        label: str | None = None,
        subsystem: str | None = None,
        min_seqid: int | None = None,
    ) -> Self:
        """The same policy for one volume: with the name that it must have.

        ``min_seqid`` is the last seqid that the caller knows of: an older header is refused.
        """
        seqid = None if min_seqid is None else {"min": min_seqid}
        given = {"uuid": uuid, "label": label, "subsystem": subsystem, "seqid": seqid}
        header = {name: value for name, value in given.items() if value is not None}
        return replace(self, settings={**self.settings, **_settings({"header": header})})

    def broken_by(self, subject: Subject) -> list[PolicyFinding]:
        """Every place where the header breaks a rule, at most a thousand."""
        found: list[PolicyFinding] = []
        for rule, setting, severity in self._active:
            for path, text in rule.check(subject, setting):
                found.append(finding(rule, severity, path, text))
                if len(found) == _FINDINGS_MAX:
                    return found
        return found

    @cached_property
    def _active(self) -> tuple[tuple[PolicyRule, object, Severity], ...]:
        """The rules that count, each with its setting and its severity."""
        return tuple(
            (rule, setting, self.severities.get(rule.name, rule.severity))
            for rule in RULES
            if (setting := True if rule.key is None else self.settings.get(rule.key, False))
            is not False
        )

    def __reduce__(self) -> tuple[object, ...]:
        return Policy, (self.name, self.description, self.settings, self.severities)


EMPTY: Final = Policy("empty", "", {}, {})


@cache
def built_in(name: str) -> Policy:
    """A policy that is part of the package."""
    return Policy.from_toml((files(__package__) / "policies" / f"{name}.toml").read_bytes(), name)


def finding(rule: PolicyRule, severity: Severity, path: str, text: str) -> PolicyFinding:
    """A broken rule with what is known about it."""
    return PolicyFinding(rule.name, severity, path, text, rule.why, rule.reference)


def _parsed(data: bytes | str, name: str) -> dict[str, object]:
    try:
        return tomllib.loads(data if isinstance(data, str) else data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"policy {name}: no TOML: {error}") from None


def _about(document: Mapping[str, object], key: str, default: str) -> str:
    value = document.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"{key} is no text")  # noqa: TRY004  # of a file, not of a call
    return value


def _settings(document: Mapping[str, object]) -> dict[str, object]:
    """The settings by the rules' keys; ValueError for a key that no rule has."""
    settings = {}
    for key, value in _flat(document, ""):
        try:
            settings[key] = BY_KEY[key].parse(value)
        except KeyError:
            raise ValueError(f"no rule has the key {key[:80]!r}") from None
        except ValueError as error:
            raise ValueError(f"{key} {error}") from None
    return settings


def _flat(table: Mapping[str, object], path: str) -> Iterator[tuple[str, object]]:
    """The keys of all tables as dotted ones; a table that a rule takes whole is its value."""
    for name, value in table.items():
        key = f"{path}{name}"
        if not path and (key in _ABOUT or key == _SEVERITIES):
            continue
        if isinstance(value, Mapping) and key not in BY_KEY:
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def _severities(document: Mapping[str, object]) -> dict[str, Severity]:
    given = document.get(_SEVERITIES, {})
    if not isinstance(given, Mapping):
        raise ValueError(f"{_SEVERITIES} is no table")  # noqa: TRY004  # of a file, not of a call
    severities = {}
    for name, value in given.items():
        if name not in BY_NAME or BY_NAME[name].key is None:
            raise ValueError(
                f"{_SEVERITIES}.{name[:80]}: no rule has this name, or it always holds"
            )
        if value not in tuple(Severity):
            raise ValueError(f"{_SEVERITIES}.{name}: {value!r} is none of {', '.join(Severity)}")
        severities[name] = Severity(value)
    return severities
