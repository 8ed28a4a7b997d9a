"""Which keyslots ``remove-key`` is about, when no single one is named.

The model is systemd-cryptenroll's ``--wipe-slot=``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import click

from luksmeta.cli import output, progress
from luksmeta.cli.options import Command, FileName, grouped
from luksmeta.cli.prompt import KeySource
from luksmeta.errors import LuksError, PassphraseError
from luksmeta.kdf.pbkdf import Limits
from luksmeta.secret import SecretBytes
from luksmeta.tokens import recovery as recovery_keys
from luksmeta.tokens.assignment import require_tokens
from luksmeta.volume import Volume


@dataclass(frozen=True, slots=True)
class ClassOptions:
    """The classes that are named; they add up."""

    recovery: bool
    empty: bool
    token_type: tuple[str, ...]
    matching: tuple[str, ...]

    @property
    def by_token(self) -> bool:
        """Whether keyslots are chosen that no passphrase has been given for."""
        return self.recovery or bool(self.token_type)

    @property
    def any_named(self) -> bool:
        """Whether it is about classes at all."""
        return self.by_token or self.empty or bool(self.matching)


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen keyslots, each with the reason, and what kept others from being tried."""

    keyslots: dict[int, str] = field(default_factory=dict)
    hindrances: dict[int, LuksError] = field(default_factory=dict)


def class_options(command: Command) -> Command:
    """Classes of keyslots; the command gets ``classes: ClassOptions``."""
    return grouped(
        command,
        "classes",
        ClassOptions,
        [
            click.option("--recovery", is_flag=True, help="All keyslots of recovery keys."),
            click.option(
                "--empty", is_flag=True, help="All keyslots that the empty passphrase opens."
            ),
            click.option(
                "--token-type",
                multiple=True,
                metavar="TYPE",
                help="All keyslots that tokens of this type are assigned to.",
            ),
            click.option(
                "--matching",
                multiple=True,
                type=FileName(),
                metavar="FILE",
                help="All keyslots that this key file opens, the whole file; - is standard input.",
            ),
        ],
    )


def select(opened: Volume, classes: ClassOptions, limits: Limits) -> Selection:
    """All keyslots of the classes; those that cannot be tried are warned of.

    Raises PassphraseError for a key file that opens none, UnsupportedError for tokens in LUKS1.
    """
    selection = Selection()
    if classes.by_token:
        require_tokens(opened.metadata)
    types = (*classes.token_type, *([recovery_keys.TYPE] if classes.recovery else []))
    for token_type in types:
        reason = f"of a {token_type} token"
        selection.keyslots.update(dict.fromkeys(opened.tokens.keyslots_of(token_type), reason))
    if classes.empty:
        with SecretBytes(0) as nothing:
            _select_by(opened, nothing, "the empty passphrase", limits, selection)
    for name in classes.matching:
        with KeySource(name).read() as passphrase:
            if not _select_by(opened, passphrase, f"key file {name}", limits, selection):
                raise PassphraseError(f"no keyslot opens with key file {name}")
    for keyslot in selection.keyslots:
        selection.hindrances.pop(keyslot, None)
    return selection


def _select_by(
    opened: Volume, passphrase: SecretBytes, what: str, limits: Limits, selection: Selection
) -> bool:
    """Choose what a passphrase opens; whether that is anything."""
    with progress.waiting("Trying every keyslot"):
        found, hindrances = opened.keyslots_that_open(passphrase, limits=limits)
    selection.keyslots.update(dict.fromkeys(found, f"opened by {what}"))
    for keyslot, hindrance in hindrances.items():
        if keyslot not in selection.hindrances:
            output.warning(f"keyslot {keyslot} was not tried: {hindrance}")
    selection.hindrances.update(hindrances)
    return bool(found)
