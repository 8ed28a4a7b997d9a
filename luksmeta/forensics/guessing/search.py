"""Guesses are tried by processes of their own, which end with the one that started them.

Passphrases go to them through pipes. A key derivation cannot be broken off from within, so the
search itself never derives one, and an interrupt is answered at once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Final, TypeAlias

from luksmeta.errors import KeyslotError, LuksError, ResourceLimitError
from luksmeta.forensics.guessing.guesses import Guess, Guesses
from luksmeta.forensics.guessing.target import Target
from luksmeta.kdf.pbkdf import Limits
from luksmeta.secret import SecretBytes
from luksmeta.volume import Volume

_AHEAD: Final = 2  # guesses that a process has, so that it need not wait for the next one
_Answer: TypeAlias = tuple[int | None, str | None, bool]  # the keyslot; a failure; of resources
_FEWER: Final = "fewer --processes need less memory"

Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FoundPassphrase:
    """The guess that opens a keyslot: ``guess`` has the passphrase, and in words what it is."""

    keyslot: int
    guess: Guess


@dataclass(slots=True)
class Search:
    """One run through guesses, from ``position`` on, with so many processes.

    All guesses before ``position`` have been tried. ``tried`` counts the guesses of all runs.
    """

    target: Target
    guesses: Guesses
    processes: int
    position: int = 0
    tried: int = 0

    def run(self, progress: Progress = lambda position, tried: None) -> FoundPassphrase | None:
        """The first guess that comes back as right; None when all have been tried.

        ``progress`` is called after each guess. Raises KeyslotError and ResourceLimitError for what
        happens in a process, and what reading the guesses raises.
        """
        self.tried = self.position
        numbered = enumerate(islice(self.guesses, self.position, None), start=self.position)
        done: set[int] = set()
        with _crew(self.target, self.processes) as crew:
            for number, guess, keyslot in _answers(crew, numbered):
                self.tried += 1
                if keyslot is not None:
                    return FoundPassphrase(keyslot, guess)
                self._advance(done, number)
                progress(self.position, self.tried)
        return None

    def _advance(self, done: set[int], number: int) -> None:
        done.add(number)
        while self.position in done:
            done.remove(self.position)
            self.position += 1


def find_passphrase(
    volume: Volume,
    guesses: Guesses,
    *,
    keyslots: Collection[int] | None = None,
    limits: Limits | None = None,
    processes: int | None = None,
    progress: Progress = lambda position, tried: None,
) -> FoundPassphrase | None:
    """Try guesses on all keyslots that open the volume, or on those named; None when none is right.

    All processes together take at most the memory of ``limits``, or half of the machine's. They are
    spawned: a script that calls this needs ``if __name__ == "__main__"``. Raises
    RequirementError, ResourceLimitError, AlgorithmError, PassphraseError when there is no keyslot,
    KeyslotError, StorageError, and what reading the guesses raises.
    """
    target = Target.of(volume, keyslots, limits)
    count = target.processes(processes, None if limits is None else limits.memory)
    return Search(target, guesses, count).run(progress)


def _answers(
    crew: Iterable[Connection], numbered: Iterator[tuple[int, Guess]]
) -> Iterator[tuple[int, Guess, int | None]]:
    """Each guess with its number and the keyslot that it opens, in the order of the answers."""
    waiting: dict[Connection, deque[tuple[int, Guess]]] = {each: deque() for each in crew}
    for connection in [*waiting] * _AHEAD:
        _hand_out(numbered, connection, waiting[connection])
    while any(waiting.values()):
        for connection in _ready([each for each, mine in waiting.items() if mine]):
            number, guess = waiting[connection].popleft()
            yield number, guess, _answer(connection)
            _hand_out(numbered, connection, waiting[connection])


def _hand_out(
    numbered: Iterator[tuple[int, Guess]],
    connection: Connection,
    waiting: deque[tuple[int, Guess]],
) -> None:
    for number, guess in islice(numbered, 1):
        waiting.append((number, guess))
        try:
            connection.send_bytes(guess.passphrase)
        except OSError as error:
            raise _gone() from error


def _ready(connections: Sequence[Connection]) -> list[Connection]:
    ready = wait(connections)
    return [each for each in connections if each in ready]


def _answer(connection: Connection) -> int | None:
    try:
        keyslot, failure, is_limit = connection.recv()
    except (EOFError, OSError) as error:
        raise _gone() from error
    if failure is None:
        return keyslot if isinstance(keyslot, int) else None
    if is_limit:
        raise ResourceLimitError(failure, asked=0, limit=0).advise(_FEWER)
    raise KeyslotError(failure)


def _gone() -> LuksError:
    """Nothing but the system ends such a process, and it does so for want of memory."""
    text = "a process that tried passphrases has been ended from outside, perhaps for its memory"
    return ResourceLimitError(text, asked=0, limit=0).advise(_FEWER)


@contextmanager
def _crew(target: Target, processes: int) -> Iterator[list[Connection]]:
    """The other ends of so many processes, which are ended at the end of the block."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        stack.enter_context(_broken_pipes_are_errors())
        connections = []
        for _ in range(processes):
            own, theirs = context.Pipe()
            stack.callback(own.close)
            process = context.Process(target=_work, args=(theirs, target), daemon=True)
            with theirs, _interrupts_held():
                process.start()
            stack.callback(process.join)
            stack.callback(process.kill)
            connections.append(own)
        yield connections


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes that are started in here never see Ctrl-C: the one who started them ends them."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _broken_pipes_are_errors() -> Iterator[None]:
    """A command line lets SIGPIPE end it without a word; here it would hide why a process ended."""
    is_main = threading.current_thread() is threading.main_thread()
    if sys.platform == "win32" or not is_main:
        yield
        return
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)


def _work(connection: Connection, target: Target) -> None:
    """What each process does, until there is nobody left to ask it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            with SecretBytes(connection.recv_bytes()) as guess:
                answer = _tried(target, guess)
            connection.send(answer)


def _tried(target: Target, guess: SecretBytes) -> _Answer:
    try:
        return target.opened_by(guess), None, False
    except LuksError as error:
        return None, str(error), isinstance(error, ResourceLimitError)
    except MemoryError:
        return None, "out of memory", True


def _end_with_parent() -> None:
    """A derivation may take minutes, and nobody waits for its result any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
