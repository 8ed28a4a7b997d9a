"""Whatever lies on a disk: using it ends well or in a LuksError, soon and in little memory.

The fuzzer (tests/fuzz/run.py) has the same targets and looks for days where these look for seconds.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luksmeta import keyslot as keyslot_area
from luksmeta.errors import LuksError
from luksmeta.header import read_header
from luksmeta.luks2.json_text import compact_text
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES
from tests.corpus import PROJECT
from tests.defects import documents
from tests.fuzz import bounds, hostile, operations, seeds, strategies, targets
from tests.fuzz.targets import TARGETS

INPUTS = {
    "luks1": strategies.luks1_headers,
    "luks2": strategies.luks2_inputs,
    "json": strategies.json_texts,
    "keyslot": strategies.keyslot_inputs,
}
every_target = pytest.mark.parametrize("name", TARGETS)
patient = settings(
    max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.fixture(autouse=True, scope="module")
def _few_stripes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyslot_area, "STRIPES", operations.FEW_STRIPES)
        yield


@every_target
@patient
@given(st.data())
def test_hostile_headers_end_in_a_luks_error_or_well(name: str, data: st.DataObject) -> None:
    content = data.draw(INPUTS[name]())
    with bounds.bounded():
        TARGETS[name].run_all(content)


@every_target
def test_every_seed_ends_in_a_luks_error_or_well(name: str) -> None:
    accepted = 0
    for seed in seeds.seeds(name):
        with bounds.bounded():
            accepted += TARGETS[name].run(seed)
    assert accepted >= 1  # and the operations had something to work on


@settings(max_examples=25)
@given(st.randoms(), st.integers(0, 20))
def test_a_tree_survives_its_spelling(source: random.Random, changes: int) -> None:
    tree = hostile.parse(compact_text(documents.reencrypting()))
    text = hostile.spell(hostile.changed(tree, source, changes))
    with suppress(ValueError, RecursionError):
        assert hostile.spell(hostile.parse(text)) == text


# --- the largest header --------------------------------------------------------------------------

HDR_SIZE = HDR_SIZES[-1]
AREA_SIZE = HDR_SIZE - BINARY_HEADER_SIZE
ROOM = AREA_SIZE - 4096  # bytes for one value
SECONDS, MEMORY = 2.0, 100 << 20  # of the processor, for both copies; bytes at the same time

LARGE: dict[str, Callable[[], str]] = {
    "half pairs": lambda: '"' + r"\ud83d" * (ROOM // 6) + '"',
    "backslashes": lambda: '"' + "\\\\" * (ROOM // 2) + '"',
    "quotes": lambda: '"' + r"\"" * (ROOM // 2) + '"',
    "long integers": lambda: "[" + ",".join(["9" * 4000] * (ROOM // 4001)) + "]",
    "one fraction": lambda: "0." + "3" * (ROOM - 2),
}


@pytest.mark.parametrize("what", LARGE)
def test_the_largest_json_area_is_read_in_bounded_time_and_memory(what: str) -> None:
    text = large_text(LARGE[what]())
    assert AREA_SIZE // 2 < len(text) < AREA_SIZE
    disk = targets.json_disk(text)
    started = time.process_time()
    with suppress(LuksError):
        read_header(disk)
    assert time.process_time() - started < SECONDS
    assert disk.longest_read <= AREA_SIZE
    tracemalloc.start()
    try:
        with suppress(LuksError):
            read_header(disk)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def large_text(value: str) -> bytes:
    """A document for the largest JSON area, good but for one value of a token."""
    document = documents.plain()
    document["config"] = {"json_size": str(AREA_SIZE), "keyslots_size": "8388608"}
    for number, keyslot in enumerate(document["keyslots"].values()):
        keyslot["area"]["offset"] = str(2 * HDR_SIZE + (number << 17))
    text = compact_text(document)
    return text.replace(b'"it"', value.encode("utf-8", "surrogateescape"))


def test_a_key_too_long_to_be_one_is_refused_before_it_is_merged() -> None:
    seed = seeds.seeds("keyslot")[0].replace(b'"key_size":32,"af"', b'"key_size":4097,"af"')
    disk = targets.keyslot_disk(seed)
    header = read_header(disk)
    with pytest.raises(LuksError, match="a key of 4097 bytes, 1 to 4096 are possible"):
        keyslot_area.unlock(0, header.metadata.keyslots[0], b"first passphrase", disk)


# --- the fuzzer itself ---------------------------------------------------------------------------


def fuzzer(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.run", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, check=False, text=True)


def test_the_fuzzer_runs_and_finds_nothing(tmp_path: Path) -> None:
    answer = fuzzer("luks1", "--runs", "300", "--findings", str(tmp_path))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert not list(tmp_path.iterdir())


def test_the_fuzzer_knows_its_targets() -> None:
    answer = fuzzer("luks3")
    assert answer.returncode == 2
    assert "no target luks3; known are luks1, luks2, json, keyslot" in answer.stderr


def test_the_bounds_are_kept() -> None:
    def spin() -> None:
        started = time.process_time()
        while time.process_time() - started <= bounds.CPU_SECONDS:
            pass

    with pytest.raises(bounds.BoundsError, match="of the processor"), bounds.bounded():
        spin()
    with pytest.raises(bounds.BoundsError, match="more memory"), bounds.bounded():
        _ = b"\1" * (bounds.peak() + bounds.MEMORY)
