"""Random bytes: the system's, or within a block those of a seed."""

from __future__ import annotations

import threading
from hashlib import shake_256

import pytest

from luksmeta.random_bytes import SEED_MAX, is_seeded, random_bytes, random_uuid, seeded
from luksmeta.secret import SecretBytes
from tests.corpus import PROJECT
from tests.source import modules


def drawn() -> list[bytes]:
    with SecretBytes.random(40) as secret:
        return [random_bytes(40), random_uuid().bytes, bytes(secret.view())]


def test_a_seed_gives_the_same_bytes_again_and_never_the_same_twice() -> None:
    with seeded(b"seed"):
        first = drawn()
        assert is_seeded()
    with seeded(b"seed"):
        assert drawn() == first
        assert random_bytes(40) != first[0]
    with seeded(b"other"):
        assert drawn() != first
    assert len(set(first)) == 3


def test_a_request_is_answered_as_the_document_says() -> None:
    with seeded(b"seed"):
        first, second = random_bytes(5), random_bytes(7)
    start = (4).to_bytes(8, "big") + b"seed"
    assert first == shake_256(start + bytes(8)).digest(5)
    assert second == shake_256(start + bytes(7) + b"\1").digest(7)


def test_outside_the_block_nothing_follows_from_the_seed() -> None:
    with seeded(b"seed"):
        first = random_bytes(40)
    assert not is_seeded()
    assert random_bytes(40) != first


def test_another_thread_does_not_see_the_seed() -> None:
    seen: list[bool] = []
    with seeded(b"seed"):
        thread = threading.Thread(target=lambda: seen.append(is_seeded()))
        thread.start()
        thread.join()
    assert seen == [False]


@pytest.mark.parametrize("size", [0, SEED_MAX + 1])
def test_a_seed_of_an_odd_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"seed: {size} bytes"), seeded(bytes(size)):
        pass


def test_no_other_module_draws_random_bytes_of_its_own() -> None:
    """One that did would be left out of what a seed decides."""
    sources = ("urandom", "token_bytes", "uuid4", "getrandom", "SystemRandom")
    drawing = [
        str(module.path)
        for module in modules()
        if module.name != "random_bytes"
        and any(source in (PROJECT / module.path).read_text(encoding="utf-8") for source in sources)
    ]
    assert drawing == []
