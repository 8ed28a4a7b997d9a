"""``unlock --try`` and ``--words``: passphrases that are almost known."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from luksmeta.cli import interrupts, output, progress, prompt
from luksmeta.cli.key_options import UnlockOptions
from luksmeta.cli.options import VolumeOptions
from luksmeta.cli.seal_options import SealOptions
from luksmeta.cli.try_options import TryOptions
from luksmeta.errors import PassphraseError, StorageError
from luksmeta.file_storage import new_file
from luksmeta.forensics.containers import open_evidence
from luksmeta.sizes import counted
from luksmeta.storage import Storage
from luksmeta.trust.opening import open_header

if TYPE_CHECKING:
    from luksmeta.forensics.guessing.guesses import Guesses, WordList
    from luksmeta.forensics.guessing.search import FoundPassphrase, Search
    from luksmeta.forensics.guessing.state import State
    from luksmeta.forensics.guessing.target import Target
    from luksmeta.secret import SecretBytes
    from luksmeta.volume import Volume

_SAVE_SECONDS: Final = 1.0


def search(
    volume: VolumeOptions,
    key: UnlockOptions,
    trying: TryOptions,
    *,
    seal: SealOptions,
    policy: str | None,
    as_json: bool,
) -> None:
    """Try guesses until one opens a keyslot, and say which; PassphraseError when none does."""
    trying.check(key)
    with ExitStack() as stack:
        found_file = None
        if trying.found_file is not None:  # made at once: hours later it must not be impossible
            _remove_what_a_killed_search_left(trying)
            stack.enter_context(interrupts.making(trying.found_file))
            found_file = stack.enter_context(new_file(trying.found_file))
        evidence = stack.enter_context(open_evidence(volume.header_file).storage)
        opened = stack.enter_context(_opened(evidence, volume, policy))
        output.warn_about_copies(volume.header_file, opened.header)
        run = _prepared(_target(opened, key), _guesses(stack, volume, key, trying), key, trying)
        found = run.carried_out()
        passphrase = found.guess.passphrase
        if seal.demand is not None:
            opened.unlock(
                passphrase, keyslot=found.keyslot, limits=key.limits, require_seal=seal.demand
            ).close()
        if found_file is not None:
            found_file.resize(len(passphrase))
            found_file.write_at(0, passphrase)
    _report(run, found, volume, trying, as_json=as_json)


def _remove_what_a_killed_search_left(trying: TryOptions) -> None:
    """An empty file of one's own, where the search goes on: nothing was found for it."""
    if trying.state is None or trying.found_file is None or not Path(trying.state).exists():
        return
    with suppress(OSError):
        status = Path(trying.found_file).lstat()
        if stat.S_ISREG(status.st_mode) and not status.st_size and status.st_uid == os.getuid():
            Path(trying.found_file).unlink()


def _report(
    run: _Run, found: FoundPassphrase, volume: VolumeOptions, trying: TryOptions, *, as_json: bool
) -> None:
    if as_json:
        output.say_json(
            {
                "keyslot": found.keyslot,
                "variant": found.guess.variant,
                **run.describe(),
                "found_file": trying.found_file,
            }
        )
        return
    output.say(
        f"{volume.header_file}: keyslot {found.keyslot} opens, the passphrase is "
        f"{found.guess.variant}"
    )
    output.say(
        f"{counted(run.search.tried, 'guess', 'guesses')} tried, {run.rate:.3g} a second "
        "on each keyslot"
    )
    if trying.found_file is not None:
        output.say(f"{trying.found_file}: the passphrase, as a key file")


@dataclass(slots=True)
class _Run:
    """A search, the state that it keeps, and how many guesses there are at most."""

    search: Search
    state: State | None
    total: int | None
    resumed_at: int
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Guesses a second of this run."""
        return (self.search.tried - self.resumed_at) / max(self.seconds, 1e-3)

    def describe(self) -> dict[str, object]:
        """Its members of the JSON document."""
        keyslots = self.search.target.keyslots
        return {
            "tried": self.search.tried,
            "guesses": self.total,
            "resumed_at": self.resumed_at,
            "keyslots_tried": list(keyslots),
            "processes": self.search.processes,
            "seconds": round(self.seconds, 3),
            "guesses_per_second": float(f"{self.rate:.3g}"),
            "keyslot_trials_per_second": float(f"{self.rate * len(keyslots):.3g}"),
        }

    def carried_out(self) -> FoundPassphrase:
        """What is found, with progress on a terminal; PassphraseError when nothing is.

        The position is kept however it ends.
        """
        began = time.monotonic()
        with (
            progress.count("Trying", "guesses") as show,
            _kept(self.search, self.state) as keep,
        ):

            def report(_position: int, tried: int) -> None:
                keep()
                show(tried, self.total)

            found = self.search.run(report)
        self.seconds = time.monotonic() - began
        if found is None:
            raise _not_found(self.search)
        return found


def _opened(evidence: Storage, volume: VolumeOptions, policy: str | None) -> Volume:
    from luksmeta.opening import open as open_volume
    from luksmeta.target import is_same_file

    if policy is None:
        return open_volume(evidence)
    is_detached = not is_same_file(volume.header_file, volume.image)
    return open_header(evidence, policy, is_detached=is_detached)


def _target(opened: Volume, key: UnlockOptions) -> Target:
    from luksmeta.forensics.guessing.target import Target

    named = None if key.key_slot is None else (key.key_slot,)
    target = Target.of(opened, named, key.limits)
    for why in target.hindered.values():
        output.warning(f"not tried: {why}")
    return target


def _guesses(
    stack: ExitStack, volume: VolumeOptions, key: UnlockOptions, trying: TryOptions
) -> Guesses:
    from luksmeta.forensics.guessing.guesses import Guesses, WordList
    from luksmeta.forensics.guessing.rules import load_rules

    rules = () if trying.rules is None else load_rules(trying.rules)
    passphrase = _passphrase(volume, key, trying)
    if passphrase is not None:
        stack.enter_context(passphrase)
    return Guesses(passphrase, tuple(WordList(each) for each in trying.words), rules)


def _passphrase(
    volume: VolumeOptions, key: UnlockOptions, trying: TryOptions
) -> SecretBytes | None:
    """The passphrase that is varied; with word lists standard input may be without one."""
    if not trying.try_variants:
        return None
    try:
        return prompt.read_passphrase(f"Passphrase for {volume.image}", key.source)
    except prompt.EndOfInputError:
        if not trying.words:
            raise
        return None


def _prepared(target: Target, guesses: Guesses, key: UnlockOptions, trying: TryOptions) -> _Run:
    from luksmeta.forensics.guessing.search import Search
    from luksmeta.forensics.guessing.state import Inputs, State

    processes = target.processes(trying.processes, key.max_memory)
    lines, digest = _measured(guesses.words)
    if trying.state is not None and any(each.is_read_once for each in guesses.words):
        raise click.UsageError("--state needs word lists that can be read again: no pipe")
    total = None if lines is None else guesses.at_most(lines)
    run = Search(target, guesses, processes if total is None else max(min(processes, total), 1))
    if trying.state is None:
        return _Run(run, None, total, 0)
    inputs = Inputs(target, guesses.passphrase, digest, guesses.rules)
    with progress.waiting("Comparing the state"):
        state = State.of(trying.state, inputs)
    run.position = state.position
    if state.position:
        output.log(f"{trying.state}: goes on after {counted(state.position, 'guess', 'guesses')}")
    return _Run(run, state, total, state.position)


def _measured(words: Sequence[WordList]) -> tuple[int | None, bytes | None]:
    """The number of lines and a digest of word lists; nothing is known of those read once."""
    import hashlib

    if any(each.is_read_once for each in words):
        return None, None
    lines, digests = 0, b""
    with progress.waiting("Reading the word lists"):
        for each in words:
            count, digest = each.measure()
            lines, digests = lines + count, digests + digest
    return lines, hashlib.sha256(digests).digest() if words else None


@contextmanager
def _kept(run: Search, state: State | None) -> Iterator[Callable[[], None]]:
    """Save the position from time to time, and at the end; without room the search goes on."""
    if state is None:
        yield lambda: None
        return
    saved, is_saved = time.monotonic(), True

    def save_now_and_then() -> None:
        nonlocal saved, is_saved
        if is_saved and time.monotonic() - saved >= _SAVE_SECONDS:
            is_saved = _saved(state, run.position)
            saved = time.monotonic()

    try:
        yield save_now_and_then
    finally:
        is_saved = _saved(state, run.position)
        if is_saved and isinstance(sys.exception(), KeyboardInterrupt):
            output.warning(
                f"{state.path}: {counted(run.position, 'guess', 'guesses')} tried; the "
                "same command goes on"
            )


def _saved(state: State, position: int) -> bool:
    """Whether the position could be saved; a warning where it could not."""
    try:
        state.save(position)
    except StorageError as error:
        output.warning(f"the position of the search is not saved: {error}")
        return False
    return True


def _not_found(run: Search) -> PassphraseError:
    ids = ", ".join(map(str, run.target.keyslots))
    text = f"none of {counted(run.tried, 'guess', 'guesses')} opens a keyslot (tried {ids})"
    hindered = "; ".join(run.target.hindered.values())
    if hindered:
        text += f"; not tried: {hindered}"
    return PassphraseError(text, tried=run.target.keyslots).advise(None)
