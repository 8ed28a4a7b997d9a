"""A file by which a search goes on where it was interrupted, and which holds no secret.

A plain digest of a passphrase that is almost right would let anybody guess it quickly. So what the
search is about is proved by the volume's own KDF: to guess from the state costs what guessing from
the volume does.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from luksmeta.errors import LuksError
from luksmeta.forensics.guessing.rules import Rule
from luksmeta.forensics.guessing.target import Target
from luksmeta.kdf import pbkdf
from luksmeta.random_bytes import random_bytes
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.system_errors import storage_error

FORMAT: Final = "luksmeta-guessing-1"
_SIZE_MAX: Final = 1 << 16  # bytes
_PROOF_SIZE: Final = 32
_COUNT_MAX: Final = 1 << 62


class StateError(LuksError):
    """The file is no state of a search, or that of another one."""

    hint = "without --state, or with a new file for it, the search begins anew"


@dataclass(frozen=True, slots=True, repr=False)
class Inputs:
    """What a search is about: what would make a position in it mean something else.

    ``words`` is the SHA-256 of the word lists.
    """

    target: Target
    passphrase: SecretBytes | BytesLike | None
    words: bytes | None
    rules: Iterable[Rule]

    def proofs(self, salt: bytes) -> dict[str, str | None]:
        """Each of them as it is in the state."""
        rules = hashlib.sha256(
            "\n".join(rule.text for rule in self.rules).encode(errors="surrogateescape")
        )
        return {
            "keyslots": self.target.digest(),
            "rules": rules.hexdigest(),
            "passphrase": None if self.passphrase is None else self._proof(self.passphrase, salt),
            "words": None if self.words is None else self._proof(self.words, salt),
        }

    def _proof(self, secret: SecretBytes | BytesLike, salt: bytes) -> str:
        kdf, limits = self.target.cheapest, self.target.limits
        with pbkdf.derive(kdf, secret, salt, _PROOF_SIZE, limits=limits) as proof:
            return proof.view().hex()


@dataclass(slots=True)
class State:
    """The file, and how many guesses have been tried: all those before ``position``."""

    path: Path
    salt: bytes
    proofs: Mapping[str, str | None]
    position: int = 0

    @classmethod
    def of(cls, path: str, inputs: Inputs) -> State:
        """The state in a file, or a new one, which is written at once.

        Raises StateError for the state of another search, StorageError.
        """
        try:
            file = Path(path).resolve()  # a link stays one
            document = _read(file)
            if document is None:
                salt = random_bytes(32)
                state = cls(file, salt, inputs.proofs(salt))
                state.save(0)
                return state
            return cls._continued(file, document, inputs)
        except LuksError as error:
            raise error.about(path) from error

    @classmethod
    def _continued(cls, path: Path, document: Mapping[str, object], inputs: Inputs) -> State:
        salt, position = document.get("salt"), document.get("position")
        if not isinstance(salt, str) or type(position) is not int:
            raise StateError("a state without salt or position")
        if not 0 <= position <= _COUNT_MAX:
            raise StateError(f"a position of {position}")
        try:
            proofs = inputs.proofs(bytes.fromhex(salt))
        except ValueError as error:
            raise StateError("a salt that is not hexadecimal") from error
        for name, proof in proofs.items():
            if not _is_same(document.get(name), proof):
                raise StateError(f"of another search: other {name}")
        return cls(path, bytes.fromhex(salt), proofs, position)

    def save(self, position: int) -> None:
        """Write the position; at every moment the file is the old or the new one. StorageError."""
        self.position = position
        document = {
            "format": FORMAT,
            "salt": self.salt.hex(),
            **self.proofs,
            "position": position,
        }
        try:
            descriptor, fresh = tempfile.mkstemp(dir=self.path.parent, prefix=".luksmeta.")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(json.dumps(document, indent=2) + "\n")
                Path(fresh).replace(self.path)
            except BaseException:
                with suppress(OSError):
                    Path(fresh).unlink()
                raise
        except OSError as error:
            raise storage_error(error).about(str(self.path)) from error


def _is_same(one: object, other: str | None) -> bool:
    if not isinstance(one, str) or other is None:
        return one is None and other is None
    return hmac.compare_digest(one.encode(errors="surrogatepass"), other.encode())


def _read(path: Path) -> Mapping[str, object] | None:
    """What is in the file; None when there is none."""
    try:
        with path.open("rb") as file:
            content = file.read(_SIZE_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(error) from error
    try:
        document = json.loads(content) if len(content) <= _SIZE_MAX else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise StateError(f"is no state of a search ({FORMAT})")
    return document
