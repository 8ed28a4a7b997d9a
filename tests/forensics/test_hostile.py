"""Whatever the fuzzer has found in headers: it is inspected, shown and exported, or refused."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from luksmeta.cli.inspect_page import render
from luksmeta.errors import LuksError
from luksmeta.forensics import regions
from luksmeta.forensics.hashes_export import HashForm, export
from luksmeta.forensics.inspector import inspect_storage
from luksmeta.forensics.report.exhibit import examine_storage
from tests.forensics.report.samples import page_of, parsed
from tests.fuzz.seeds import found, seeds
from tests.fuzz.targets import TARGETS

_SHARE = 20  # every twentieth input; all of them take a minute
_PAGES_SHARE = 100
_WIDTH = 100


@pytest.mark.parametrize("name", list(TARGETS))
def test_no_header_is_too_odd(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "EXAMINED_MAX", 1 << 16)  # these devices have 16 GiB of holes
    for data in (*seeds(name), *found(name))[::_SHARE]:
        storage = TARGETS[name].disk(data)
        inspection = inspect_storage(storage, storage)
        json.dumps(inspection.describe(), ensure_ascii=True, allow_nan=False)
        _, *lines = render(inspection).split("\n")
        assert all(len(line) <= _WIDTH for line in lines)
        header = inspection.diagnosis.header
        for keyslot_id in header.metadata.keyslots if header else ():
            for form in HashForm:
                with suppress(LuksError):
                    assert header
                    export(header, keyslot_id, form, storage, storage)


@pytest.mark.parametrize("name", list(TARGETS))
def test_every_odd_header_has_a_page(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "EXAMINED_MAX", 1 << 16)
    for data in (*seeds(name), *found(name))[::_PAGES_SHARE]:
        storage = TARGETS[name].disk(data)
        text = page_of(examine_storage(storage, storage, ("odd", None)))
        parsed(text)
        assert len(text) < 2_000_000
