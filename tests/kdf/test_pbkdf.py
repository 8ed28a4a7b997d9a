"""Key derivation: published vectors, a second library, limits, and nonsense from disk."""

from __future__ import annotations

import contextlib
import threading

import pytest
from cryptography.hazmat.primitives.kdf import argon2 as second
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta.errors import AlgorithmError, LuksError, ResourceLimitError
from luksmeta.kdf import machine
from luksmeta.kdf.pbkdf import NAMES, Argon2i, Argon2id, Limits, Pbkdf, Pbkdf2, check_new, derive
from luksmeta.secret import SecretBytes

SALT = bytes(range(32))
CHEAP = [
    Pbkdf2(hash="sha256", iterations=2),
    Argon2i(time=1, memory=8, cpus=1),
    Argon2id(time=1, memory=8, cpus=1),
]


def derived(kdf: Pbkdf, passphrase: bytes, salt: bytes, size: int) -> str:
    with derive(kdf, passphrase, salt, size) as key:
        return bytes(key.view()).hex()


@pytest.mark.parametrize(
    ("hash", "passphrase", "salt", "iterations", "key"),
    [
        # RFC 6070
        ("sha1", b"password", b"salt", 1, "0c60c80f961f0e71f3a9b524af6012062fe037a6"),
        ("sha1", b"password", b"salt", 4096, "4b007901b765489abead49d926f721d065a429c1"),
        (
            "sha1",
            b"passwordPASSWORDpassword",
            b"saltSALTsaltSALTsaltSALTsaltSALTsalt",
            4096,
            "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038",
        ),
        ("sha1", b"pass\0word", b"sa\0lt", 4096, "56fa6aa75548099dcc37d7f03425e0c3"),
        # RFC 7914 section 11
        (
            "sha256",
            b"passwd",
            b"salt",
            1,
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
            "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783",
        ),
        (
            "sha256",
            b"Password",
            b"NaCl",
            80000,
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
            "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d",
        ),
    ],
)
def test_pbkdf2_gives_the_published_keys(
    hash: str, passphrase: bytes, salt: bytes, iterations: int, key: str
) -> None:
    kdf = Pbkdf2(hash=hash, iterations=iterations)
    assert derived(kdf, passphrase, salt, (len(key) + 1) // 2).startswith(key)


@pytest.mark.parametrize(
    ("kdf", "key"),
    [  # test.c of the reference implementation (P-H-C/phc-winner-argon2), version 0x13
        (
            Argon2i(time=2, memory=256, cpus=1),
            "89e9029f4637b295beb027056a7336c414fadd43f6b208645281cb214a56452f",
        ),
        (
            Argon2i(time=2, memory=256, cpus=2),
            "4ff5ce2769a1d7f4c8a491df09d41a9fbe90e5eb02155a13e4c01e20cd4eab61",
        ),
        (
            Argon2id(time=2, memory=256, cpus=1),
            "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe",
        ),
        (
            Argon2id(time=2, memory=256, cpus=2),
            "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037",
        ),
    ],
)
def test_argon2_gives_the_published_keys(kdf: Pbkdf, key: str) -> None:
    assert derived(kdf, b"password", b"somesalt", 32) == key


@settings(max_examples=30, deadline=None)
@given(
    passphrase=st.binary(max_size=100),
    time=st.integers(1, 3),
    cpus=st.integers(1, 9),
    more=st.integers(0, 100),
    size=st.integers(4, 130),
)
@pytest.mark.parametrize(
    ("kind", "other"), [(Argon2i, second.Argon2i), (Argon2id, second.Argon2id)]
)
def test_argon2_equals_that_of_a_second_library(
    kind: type[Argon2i],
    other: type[second.Argon2i],
    passphrase: bytes,
    time: int,
    cpus: int,
    more: int,
    size: int,
) -> None:
    memory = 8 * cpus + more
    kdf = kind(time=time, memory=memory, cpus=cpus)
    theirs = other(salt=SALT, length=size, iterations=time, lanes=cpus, memory_cost=memory)
    assert derived(kdf, passphrase, SALT, size) == theirs.derive(passphrase).hex()


def test_the_number_of_processors_does_not_change_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    kdf = Argon2id(time=1, memory=64, cpus=4)
    expected = derived(kdf, b"x", SALT, 32)
    monkeypatch.setattr(machine, "online_cpus", lambda: 1)
    assert derived(kdf, b"x", SALT, 32) == expected


@pytest.mark.parametrize("kdf", CHEAP, ids=lambda kdf: kdf.name)
def test_empty_long_and_secret_passphrases_are_taken(kdf: Pbkdf) -> None:
    long = b"\0" + bytes(8 << 20)
    keys = {derived(kdf, passphrase, SALT, 32) for passphrase in (b"", long, long[1:])}
    # HMAC pads a key with zeroes, but a long key is hashed first: three keys in any case.
    assert len(keys) == 3
    with SecretBytes(b"") as empty, derive(kdf, empty, SALT, 32) as key:
        assert bytes(key.view()).hex() in keys


@pytest.mark.parametrize("kdf", CHEAP, ids=lambda kdf: kdf.name)
def test_a_key_of_no_bytes_is_a_value_error(kdf: Pbkdf) -> None:
    with pytest.raises(ValueError, match="a key of 0 bytes"):
        derive(kdf, b"", SALT, 0)


@pytest.mark.parametrize(
    ("kdf", "asked", "limit"),
    [
        (Pbkdf2(hash="sha256", iterations=1001), 1001, 1000),
        (Argon2id(time=6, memory=32, cpus=1), 6, 5),
        (Argon2id(time=1, memory=2049, cpus=1), 2049, 2048),
        (Argon2i(time=1, memory=2048, cpus=3), 3, 2),
    ],
)
def test_costs_above_the_limits_are_refused_with_both_numbers(
    kdf: Pbkdf, asked: int, limit: int
) -> None:
    limits = Limits(iterations=1000, time=5, memory=2048, cpus=2)
    with pytest.raises(ResourceLimitError, match=f"is {asked}.*the limit {limit}") as caught:
        derive(kdf, b"", SALT, 32, limits=limits)
    assert (caught.value.asked, caught.value.limit) == (asked, limit)
    assert caught.value.exit_status == 3


def test_the_default_limit_of_memory_is_what_the_machine_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "physical_memory", lambda: 1 << 20)
    assert Limits().memory == 1 << 20
    monkeypatch.setattr(machine, "physical_memory", lambda: 64 << 20)
    assert Limits().memory == 4 << 20


def test_memory_that_the_system_refuses_is_a_resource_limit_error() -> None:
    resource = pytest.importorskip("resource", reason="address space is limited by setrlimit")
    before = resource.getrlimit(resource.RLIMIT_AS)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, before[1]))
        with pytest.raises(ResourceLimitError, match="16777216 KiB of memory could not be had"):
            derive(
                Argon2id(time=1, memory=16 << 20, cpus=1),
                b"",
                SALT,
                32,
                limits=Limits(memory=16 << 20),
            )
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


UNBOUNDED = Limits(iterations=1 << 70, time=1 << 70, memory=1 << 70, cpus=1 << 70)


@pytest.mark.parametrize(
    "kdf",
    [
        Pbkdf2(hash="sha256", iterations=0),
        Pbkdf2(hash="sha256", iterations=1 << 31),
        Argon2id(time=0, memory=32, cpus=1),
        Argon2id(time=1, memory=0, cpus=1),
        Argon2id(time=1, memory=32, cpus=0),
        Argon2id(time=1, memory=31, cpus=4),
        Argon2i(time=1 << 32, memory=32, cpus=1),
        Argon2i(time=1, memory=1 << 64, cpus=1),
        Argon2i(time=1, memory=1 << 31, cpus=1 << 24),
        Argon2i(time=-1, memory=32, cpus=1),
    ],
    ids=str,
)
def test_costs_without_meaning_are_an_algorithm_error_and_never_a_crash(kdf: Pbkdf) -> None:
    with pytest.raises(AlgorithmError, match="possible are") as caught:
        derive(kdf, b"", SALT, 32, limits=UNBOUNDED)
    assert (caught.value.kind, caught.value.name) == ("kdf", kdf.name)


def test_a_salt_that_argon2_refuses_is_an_algorithm_error() -> None:
    with pytest.raises(AlgorithmError, match="argon2i: salt is too short"):
        derive(Argon2i(time=1, memory=8, cpus=1), b"", b"short", 32)


@settings(max_examples=100, deadline=None)
@given(
    time=st.integers(-(1 << 65), 1 << 65),
    memory=st.integers(-(1 << 65), 1 << 65),
    cpus=st.integers(-(1 << 65), 1 << 65),
)
def test_any_argon2_costs_give_a_key_or_a_typed_error(time: int, memory: int, cpus: int) -> None:
    with contextlib.suppress(LuksError):
        derive(
            Argon2id(time=time, memory=memory, cpus=cpus),
            b"",
            SALT,
            16,
            limits=Limits(time=4, memory=128, cpus=8),
        ).wipe()


@pytest.mark.parametrize(
    "kdf",
    [
        Pbkdf2(hash="sha256", iterations=1000),
        Argon2id(time=4, memory=32, cpus=1),
        Argon2i(time=4, memory=4 << 20, cpus=4),
    ],
    ids=str,
)
def test_new_keyslots_may_have_what_cryptsetup_lets_one_force(kdf: Pbkdf) -> None:
    check_new(kdf)


@pytest.mark.parametrize(
    ("kdf", "message"),
    [
        (Pbkdf2(hash="sha256", iterations=999), "pbkdf2: iterations is 999, the minimum is 1000"),
        (Argon2id(time=3, memory=32, cpus=1), "argon2id: time is 3, the minimum is 4"),
        (Argon2id(time=4, memory=31, cpus=1), "argon2id: memory is 31, the minimum is 32"),
        (Argon2id(time=4, memory=4194305, cpus=1), "memory is 4194305, the maximum is 4194304"),
        (Argon2i(time=4, memory=32, cpus=0), "argon2i: cpus is 0, the minimum is 1"),
        (Argon2i(time=4, memory=32, cpus=5), "argon2i: cpus is 5, the maximum is 4"),
    ],
)
def test_new_keyslots_outside_the_bounds_are_a_value_error(kdf: Pbkdf, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_new(kdf)


def test_the_names_are_those_of_luks2_json() -> None:
    assert dict(NAMES) == {"pbkdf2": Pbkdf2, "argon2i": Argon2i, "argon2id": Argon2id}


@pytest.mark.parametrize(
    "kdf",
    [Pbkdf2(hash="sha256", iterations=400_000), Argon2id(time=4, memory=16 << 10, cpus=1)],
    ids=lambda kdf: kdf.name,
)
def test_other_threads_run_during_a_derivation(kdf: Pbkdf) -> None:
    started, ticks, done = threading.Event(), 0, threading.Event()

    def work() -> None:
        started.set()
        derive(kdf, b"", SALT, 32).wipe()
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    while not done.wait(0.001):
        ticks += 1
    thread.join()
    assert ticks >= 3  # with the GIL held it would be 1 at most
