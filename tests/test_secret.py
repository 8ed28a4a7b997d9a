"""Secrets: owned, wiped, never shown, compared or copied by accident."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from traceback import TracebackException

import pytest

from luksmeta.errors import PassphraseError
from luksmeta.random_bytes import fill_with_random
from luksmeta.secret import BytesLike, SecretBytes
from tests import builders

WRONG = b"no passphrase of this volume"
TEXT = b"thirty-two bytes of secret stuff"


@pytest.mark.parametrize(
    "make", [bytes, bytearray, memoryview, SecretBytes], ids=lambda make: make.__name__
)
def test_a_secret_is_a_copy_of_its_source(make: Callable[[bytes], BytesLike | SecretBytes]) -> None:
    with SecretBytes(make(TEXT)) as secret:
        assert bytes(secret.view()) == TEXT
        assert len(secret) == 32


@pytest.mark.parametrize("size", [0, 1, 4096, 4097])
def test_a_size_makes_zeroes(size: int) -> None:
    with SecretBytes(size) as secret:
        assert bytes(secret.view()) == bytes(size)


def test_random_secrets_differ() -> None:
    with SecretBytes.random(32) as one, SecretBytes.random(32) as other:
        assert not one.matches(other)


def test_wiping_leaves_zeroes_in_the_memory_itself() -> None:
    secret = SecretBytes(TEXT)
    still_held = memoryview(secret.view())
    assert bytes(still_held) == TEXT
    secret.wipe()
    assert bytes(still_held) == bytes(32)
    secret.wipe()
    with pytest.raises(ValueError, match="wiped"):
        secret.view()
    with pytest.raises(ValueError, match="wiped"):
        secret.matches(TEXT)


def test_leaving_the_with_block_wipes_even_after_an_error() -> None:
    secret = SecretBytes(TEXT)
    still_held = memoryview(secret.view())
    with pytest.raises(KeyError), secret:
        raise KeyError
    assert bytes(still_held) == bytes(32)


def test_a_forgotten_secret_is_wiped_when_it_is_collected() -> None:
    secret = SecretBytes(TEXT)
    still_held = memoryview(secret.view())
    del secret
    assert bytes(still_held) == bytes(32)


def test_secrets_match_by_their_bytes() -> None:
    with SecretBytes(TEXT) as secret, SecretBytes(TEXT) as same:
        assert secret.matches(same)
        assert secret.matches(TEXT)
        assert not secret.matches(TEXT[:-1])
        assert not secret.matches(TEXT[:-1] + b"x")


@pytest.mark.parametrize(
    "leak", [pickle.dumps, copy.copy, copy.deepcopy, hash, lambda secret: secret == secret]
)
def test_a_secret_is_not_pickled_copied_hashed_or_compared(
    leak: Callable[[SecretBytes], object],
) -> None:
    with SecretBytes(TEXT) as secret, pytest.raises(TypeError):
        leak(secret)


def test_no_text_shows_the_bytes() -> None:
    with SecretBytes(TEXT) as secret:
        assert {repr(secret), str(secret), f"{secret}"} == {"<SecretBytes 32 bytes>"}


def test_what_was_filled_before_an_error_is_wiped() -> None:
    views: list[memoryview] = []

    def fill(view: memoryview) -> None:
        view[:] = TEXT
        views.append(memoryview(view))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SecretBytes.filled(len(TEXT), fill)
    assert bytes(views[0]) == bytes(32)


@pytest.mark.parametrize("size", [0, 1, 4097])
def test_random_bytes_fill_a_buffer_to_its_end(size: int) -> None:
    buffers = [bytearray(size) for _ in range(20)]
    for buffer in buffers:
        fill_with_random(memoryview(buffer))
    assert size == 0 or any(buffer[-1] for buffer in buffers)


def test_who_holds_a_buffer_of_a_secret_does_not_keep_it_from_being_wiped() -> None:
    secret = SecretBytes(TEXT)
    exported = bytes.join(b"", [secret.view()])
    holder = memoryview(secret.view()).cast("B")
    secret.wipe()
    assert exported == TEXT
    assert bytes(holder) == bytes(32)


def test_no_traceback_shows_a_secret_even_with_all_local_variables() -> None:
    with (
        SecretBytes(WRONG) as secret,
        builders.opened("luks2") as volume,
        pytest.raises(PassphraseError) as caught,
    ):
        volume.unlock(secret)
    shown = "".join(TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "SecretBytes 28 bytes" in shown
    assert WRONG.decode() not in shown
    assert WRONG.hex() not in shown


def test_no_repr_of_what_is_unlocked_shows_a_secret() -> None:
    with (
        builders.opened("luks2") as volume,
        volume.unlock(builders.FIRST) as unlocked,
        unlocked.open() as data,
    ):
        shown = repr([volume, unlocked, vars(unlocked), data, vars(data), volume.header])
    assert "SecretBytes" in shown
    for secret in (builders.VOLUME_KEY, builders.FIRST):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
