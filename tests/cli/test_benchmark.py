"""``benchmark``: its numbers make sense, and its options choose."""

from __future__ import annotations

import re

import pytest

from luksmeta import benchmark, openssl_speed
from luksmeta.benchmark import Argon2Speed, CipherSpeed, Pbkdf2Speed
from luksmeta.errors import AlgorithmError
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Pbkdf, Pbkdf2
from luksmeta.openssl_speed import Limit
from luksmeta.sector import engine
from tests.cli.runner import done, luksmeta, refused

GIB = 1 << 30


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that take no time; one cipher is not available."""

    def argon2(kind: type[Argon2i] | type[Argon2id], ms: int, **most: int) -> Argon2Speed:
        kdf = kind(time=4, memory=most["max_memory"], cpus=most["max_cpus"])
        return Argon2Speed(kdf, ms + 1)

    def cipher(spec: str, key_size: int, sector_size: int, thread_count: int) -> CipherSpeed:
        if spec.startswith("serpent"):
            raise AlgorithmError("cipher serpent: not here", kind="cipher", name=spec)
        return CipherSpeed(spec, key_size, sector_size, thread_count, 4 * GIB, 5 << 20)

    monkeypatch.setattr(benchmark, "pbkdf2", lambda hash: Pbkdf2Speed(hash, 1_234_567))
    monkeypatch.setattr(benchmark, "argon2", argon2)
    monkeypatch.setattr(benchmark, "cipher", cipher)
    monkeypatch.setattr(benchmark, "processors", lambda: 2)
    monkeypatch.setattr(
        openssl_speed, "limit", lambda *_: Limit("aes-256-xts", 6 * GIB, 7 * GIB, "a stopwatch")
    )


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("made_up")
def test_the_page_shows_engine_kdfs_ciphers_and_the_limit() -> None:
    answer = luksmeta("benchmark")
    assert answer.status == 0
    lines = answer.out.splitlines()
    assert f"Engine: {engine.name()}, {openssl_speed.version()}" in lines
    assert max(map(len, lines)) <= 80
    assert "…" not in answer.out
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
    assert ["pbkdf2 sha256", "1,234,567 iterations a second"] in rows
    assert ["argon2id", "4 passes, 1024 MiB, 4 threads: 2001 ms"] in rows
    numbers = [*["4,096", "5.0"] * 2]
    assert ["aes-xts-plain64", "512", "4096", *numbers] in rows
    assert ["OpenSSL alone: aes-256-xts", "512", "4096", "6,144", "7,168"] in rows
    assert "a stopwatch" in answer.out
    assert answer.err == "luksmeta: warning: cipher serpent: not here\n"


@pytest.mark.usefixtures("made_up")
def test_json_has_bytes_and_says_which_engine() -> None:
    document = luksmeta("benchmark", "--json").json
    assert document["engine"] == engine.name()
    assert document["openssl"].startswith("OpenSSL")
    assert document["processors"] == 2
    assert [each["hash"] for each in document["pbkdf2"]] == list(benchmark.HASHES)
    assert document["argon2"][1] == {
        "name": "argon2id",
        "time": 4,
        "memory": GIB,
        "cpus": 4,
        "milliseconds": 2001,
    }
    first = document["ciphers"][0]
    assert (first["cipher"], first["key_size"], first["sector_size"]) == (
        "aes-xts-plain64",
        64,
        512,
    )
    assert first["speeds"] == [
        {"threads": n, "encrypt": 4 * GIB, "decrypt": 5 << 20} for n in (1, 2)
    ]
    assert first["openssl"] == {
        "algorithm": "aes-256-xts",
        "encrypt": 6 * GIB,
        "decrypt": 7 * GIB,
        "source": "a stopwatch",
    }
    assert document["unavailable"] == ["cipher serpent: not here"]


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize(
    ("options", "pbkdf2", "argon2", "ciphers"),
    [
        (("--hash", "sha512"), ["sha512"], [], []),
        (("--pbkdf", "pbkdf2"), list(benchmark.HASHES), [], []),
        (("--pbkdf", "argon2i"), [], ["argon2i"], []),
        (("--cipher", "aes-ecb"), [], [], [("aes-ecb", 32, 512), ("aes-ecb", 32, 4096)]),
        (("-c", "aes-ecb", "-s", "128", "--sector-size", "1024"), [], [], [("aes-ecb", 16, 1024)]),
        (
            ("-c", "aes-ecb", "--sector-size", "512", "--pbkdf", "argon2id"),
            [],
            ["argon2id"],
            [("aes-ecb", 32, 512)],
        ),
    ],
    ids=str,
)
def test_options_choose_what_is_measured(
    options: tuple[str, ...],
    pbkdf2: list[str],
    argon2: list[str],
    ciphers: list[tuple[str, int, int]],
) -> None:
    document = done(luksmeta("benchmark", *options, "--json")).json
    assert [each["hash"] for each in document["pbkdf2"]] == pbkdf2
    assert [each["name"] for each in document["argon2"]] == argon2
    keys = ("cipher", "key_size", "sector_size")
    assert [tuple(each[key] for key in keys) for each in document["ciphers"]] == ciphers


@pytest.mark.usefixtures("made_up")
def test_a_chosen_cipher_that_is_missing_is_an_error() -> None:
    refused(luksmeta("benchmark", "-c", "serpent-xts-plain64", "-s", "512"), 1, "not here")


@pytest.mark.parametrize(
    "options",
    [
        ("--key-size", "256"),
        ("--sector-size", "512"),
        ("--pbkdf", "argon2id", "--hash", "sha256"),
        ("--hash", "md7"),
        ("--cipher", "rot13-ecb"),
        ("--cipher", "aes-xts-plain64", "--sector-size", "500"),
        ("--cipher", "aes-xts-plain64", "--key-size", "384000"),
        ("--pbkdf", "argon2id", "--pbkdf-memory", "1"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: tuple[str, ...]) -> None:
    refused(luksmeta("benchmark", *options), 1)


def test_a_cipher_is_measured_for_real() -> None:
    command = ("benchmark", "-c", "aes-xts-plain64", "-s", "256", "--sector-size", "4096", "--json")
    (row,) = done(luksmeta(*command)).json["ciphers"]
    assert [each["threads"] for each in row["speeds"]] == sorted({1, benchmark.processors()})
    assert all(each[way] > 0 for each in row["speeds"] for way in ("encrypt", "decrypt"))
    assert row["openssl"]["algorithm"] == "aes-128-xts"
    assert row["openssl"]["decrypt"] > 0


# --- what it measures ----------------------------------------------------------------------------


def test_pbkdf2_is_measured_in_iterations_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(kdf: Pbkdf, key_size: int) -> float:
        assert isinstance(kdf, Pbkdf2)
        return kdf.iterations / 1000  # milliseconds, on a machine of a million a second

    monkeypatch.setattr("luksmeta.kdf.calibrate.measure", measure)
    assert benchmark.pbkdf2("sha256") == Pbkdf2Speed("sha256", 1_000_000)


def test_long_argon2_runs_are_extrapolated_and_the_found_costs_are_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs: list[Pbkdf] = []

    def measure(kdf: Pbkdf, key_size: int) -> float:
        runs.append(kdf)
        assert not isinstance(kdf, Pbkdf2)
        return kdf.time * kdf.memory / 1000

    monkeypatch.setattr("luksmeta.kdf.calibrate.measure", measure)
    speed = benchmark.argon2(Argon2id, 1000, max_memory=1 << 20)
    assert 950 <= speed.milliseconds <= 1100
    assert runs[-1] == speed.kdf
    assert [run for run in runs[:-1] if measure(run, 64) > 500] == []


def test_openssl_is_measured_in_this_process_where_its_program_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openssl_speed, "_openssl", lambda *_: None)
    for spec, key_size in (("aes-xts-plain64", 64), ("aes-cbc-plain64", 24), ("aes-ecb", 16)):
        limit = openssl_speed.limit(spec, key_size, 512)
        assert limit is not None
        assert limit.source.startswith("in this process")
        assert min(limit.encrypt, limit.decrypt) > 0


@pytest.mark.parametrize("spec", ["serpent-xts-plain64", "aes-lrw-benbi", "cipher_null-ecb"])
def test_there_is_no_limit_where_openssl_has_no_such_cipher(spec: str) -> None:
    assert openssl_speed.limit(spec, 32, 512) is None


def test_a_slow_cipher_is_measured_over_less_data() -> None:
    sizes: list[int] = []

    def slow(data: memoryview) -> None:
        sizes.append(len(data))
        sum(range(len(data)))  # some 0.1 ms for 16 KiB

    assert benchmark.bytes_per_second(slow, memoryview(bytearray(1 << 26))) > 0
    assert max(sizes) < 1 << 26
