"""The form of an attack, and how the modules of attacks register theirs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from tests.trust.images import Document, document_of, with_document

Change: TypeAlias = Callable[[bytes], bytes]
Alter: TypeAlias = Callable[[Document], None]

ATTACKER_KEY: Final = b"\xa5" * 64
SALT: Final = base64.b64encode(bytes(range(32))).decode()


@dataclass(frozen=True)
class Attack:
    """A mutation of a header; see :mod:`tests.trust.attacks`."""

    name: str
    change: Change
    silent: bool
    by_policy: bool = True

    def __str__(self) -> str:
        return self.name


REGISTERED: Final[list[Attack]] = []


def on_image(*, silent: bool, by_policy: bool = True) -> Callable[[Change], Change]:
    """Register a function of the whole image."""

    def register(change: Change) -> Change:
        REGISTERED.append(Attack(_name(change), change, silent, by_policy))
        return change

    return register


def on_document(*, silent: bool, by_policy: bool = True) -> Callable[[Alter], Alter]:
    """Register a function that alters the JSON document of both copies."""

    def register(alter: Alter) -> Alter:
        def change(image: bytes) -> bytes:
            document = document_of(image)
            alter(document)
            return with_document(image, document)

        REGISTERED.append(Attack(_name(alter), change, silent, by_policy))
        return alter

    return register


def _name(function: Callable[..., object]) -> str:
    return function.__name__.replace("_", "-")


def free_id(objects: Document) -> str:
    """The lowest id that is not in use."""
    return next(str(number) for number in range(32) if str(number) not in objects)


def attacker_digest(keyslots: list[str], segments: list[str], iterations: int = 1000) -> Document:
    """A digest that proves the attacker's own volume key."""
    proof = hashlib.pbkdf2_hmac("sha256", ATTACKER_KEY, base64.b64decode(SALT), iterations)
    return {
        "type": "pbkdf2",
        "keyslots": keyslots,
        "segments": segments,
        "hash": "sha256",
        "iterations": iterations,
        "salt": SALT,
        "digest": base64.b64encode(proof).decode(),
    }
