"""A process that has secrets for a while, and stands still so that it can be looked at.

``python -m tests.secrets.holder SCENE VOLUME KEYFILE NEW_KEYFILE``. It says where it is on standard
output, a line each, and goes on after a line on standard input. Secrets reach it as those of the
command line do: through key files, read into SecretBytes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable

import luksmeta
from luksmeta.cli.prompt import KeySource
from luksmeta.errors import LuksError, ResourceLimitError
from luksmeta.kdf.pbkdf import Limits
from luksmeta.secret import SecretBytes

KDF = luksmeta.Pbkdf2(hash="sha256", iterations=1000)


def stand_still(where: str) -> None:
    """Until somebody has looked."""
    print(where, flush=True)
    if not sys.stdin.readline():
        sys.exit("nobody looks any more")


def use(volume_path: str, first: SecretBytes, second: SecretBytes) -> None:
    """Unlock, read, write, add a keyslot, close."""
    with (
        luksmeta.open(volume_path, writable=True) as volume,
        volume.unlock(first) as unlocked,
    ):
        with unlocked.open(writable=True) as data:
            data.read(1 << 16)
            data.seek(1000)
            data.write(bytes(3000))
            stand_still("open")
        unlocked.add_keyslot(second, pbkdf=KDF)


def use_and_abort(volume_path: str, first: SecretBytes, second: SecretBytes) -> None:
    """Die with a core dump while the volume is open."""
    with (
        luksmeta.open(volume_path) as volume,
        volume.unlock(first) as unlocked,
        unlocked.open() as data,
    ):
        data.read(1 << 16)
        os.abort()


def wrong_passphrase(volume_path: str, first: SecretBytes, second: SecretBytes) -> None:
    """The second one opens nothing; the error lives on, with its traceback and its frames."""
    with luksmeta.open(volume_path) as volume:
        try:
            volume.unlock(second)
        except LuksError as error:
            second.wipe()
            first.wipe()
            stand_still(type(error).__name__)


def over_the_limit(volume_path: str, first: SecretBytes, second: SecretBytes) -> None:
    """No keyslot may be tried."""
    with luksmeta.open(volume_path) as volume:
        try:
            volume.unlock(first, limits=Limits(iterations=1, time=1, memory=1, cpus=1))
        except ResourceLimitError as error:
            first.wipe()
            second.wipe()
            stand_still(type(error).__name__)


def interrupted(volume_path: str, first: SecretBytes, second: SecretBytes) -> None:
    """Ctrl-C comes in the middle of the KDF, which takes longer, and is caught further out."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    with luksmeta.open(volume_path) as volume:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            volume.unlock(first)
        except KeyboardInterrupt as error:
            first.wipe()
            second.wipe()
            stand_still(type(error).__name__)


SCENES: dict[str, Callable[[str, SecretBytes, SecretBytes], None]] = {
    scene.__name__: scene
    for scene in (use, use_and_abort, wrong_passphrase, over_the_limit, interrupted)
}


def main(scene: str, volume_path: str, key_file: str, new_key_file: str) -> None:
    """Play a scene."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(KeySource(key_file).read())
        second = stack.enter_context(KeySource(new_key_file).read())
        SCENES[scene](volume_path, first, second)
    stand_still("closed")


if __name__ == "__main__":
    main(*sys.argv[1:])
