"""Seals made, verified, renewed along with changes, and never given to what others changed."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from typing import Final

import pytest

import luksmeta
from luksmeta import (
    KeyslotError,
    MemoryStorage,
    SealError,
    SealFault,
    SealTerms,
    TokenError,
    UnlockedVolume,
    UnsupportedError,
    Volume,
)
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange, reword
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.header import Luks2Header
from luksmeta.luks2.json_text import compact_text
from luksmeta.model import JsonValue
from luksmeta.secret import BytesLike
from luksmeta.trust.seal import Record
from luksmeta.trust.terms import COUNTER_MAX, SEAL_TYPE
from tests import builders
from tests.builders import FIRST, KDF, SECOND, THIRD, VOLUME_KEY
from tests.corpus import stream
from tests.disk_states import states
from tests.trust import plain
from tests.trust.images import Document, with_copies

Change = Callable[[Volume, UnlockedVolume], object]
Step = dict[str, int | str]


def sealed(*passphrases: bytes) -> Volume:
    """A volume in memory with a seal, opened for writing."""
    volume = builders.opened("luks2", *(passphrases or (FIRST, SECOND)))
    with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
        unlocked.seal()
    return volume


def again(volume: Volume) -> Volume:
    """The same bytes opened anew, without anything that is remembered."""
    return luksmeta.open(MemoryStorage(builders.content(volume)), writable=True)


def findings(volume: Volume, terms: SealTerms | None = None) -> list[str]:
    """What is wrong with the seal of a volume opened anew."""
    with again(volume) as fresh, fresh.unlock(volume_key=VOLUME_KEY) as unlocked:
        return [str(each) for each in unlocked.verify_seal(terms).findings]


def record(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


def counter(volume: Volume) -> int | None:
    with again(volume) as fresh, fresh.unlock(volume_key=VOLUME_KEY) as unlocked:
        return unlocked.verify_seal().counter


def change_document(volume: Volume, change: Callable[[Document], None]) -> Volume:
    """The volume after somebody who knows no key changed its JSON document."""
    content = builders.content(volume)
    document = builders.document_of(content)
    change(document)
    return luksmeta.open(MemoryStorage(builders.with_document(content, document)), writable=True)


# --- a seal -------------------------------------------------------------------------------------


def test_a_seal_is_a_token_that_plain_code_can_check() -> None:
    volume = sealed()
    (token,) = volume.metadata.tokens.values()
    members = dict(token.as_read)
    assert members["type"] == SEAL_TYPE
    assert (members["keyslots"], members["counter"]) == ([], 1)
    assert members["measurement"] == plain.measure(plain.luks2(builders.content(volume)))
    assert members["mac"] == plain.mac(members, VOLUME_KEY)


def test_each_seal_counts_on_and_takes_the_place_of_the_last() -> None:
    volume = sealed()
    with volume.unlock(FIRST) as unlocked:
        for expected in (2, 3):
            verification = unlocked.seal()
            assert verification.holds
            assert verification.counter == expected
            assert verification.measurement == volume.measure()
    assert len(volume.metadata.tokens) == 1


def test_there_is_none_in_luks1() -> None:
    with builders.opened("luks1") as volume:
        with pytest.raises(SealError, match="has no seal, it is LUKS1"):
            volume.unlock(FIRST, require_seal=True)
        with volume.unlock(FIRST) as unlocked:
            assert unlocked.verify_seal().is_missing
            with pytest.raises(UnsupportedError, match="LUKS1 has no place for a seal"):
                unlocked.seal()


def test_an_unbound_key_makes_none() -> None:
    volume = sealed(FIRST)
    keyslot = volume.add_unbound_keyslot(THIRD, key_size=32, pbkdf=KDF, digest_iterations=1000)
    with volume.unlock(THIRD, keyslot=keyslot) as unlocked:
        assert not volume.sealers
        for call in (unlocked.seal, unlocked.verify_seal):
            with pytest.raises(KeyslotError, match=f"keyslot {keyslot}: is unbound"):
                call()


def test_another_volume_key_makes_another_mac() -> None:
    volume = sealed()
    members = next(iter(volume.metadata.tokens.values())).as_read
    assert plain.mac(dict(members), bytes(32)) != members["mac"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("counter", 2),
        ("measurement", "00" * 32),
        ("record", "eJwDAAAAAAE="),
        ("mac", "AAAA"),
        ("version", 2),
        ("keyslots", ["0"]),
        ("x-unknown", None),
    ],
)
def test_every_member_of_the_seal_is_covered(name: str, value: object) -> None:
    changed = change_document(
        sealed(), lambda document: document["tokens"]["0"].update({name: value})
    )
    with changed.unlock(FIRST) as unlocked:
        verification = unlocked.verify_seal()
    assert verification.counter is None
    assert [each.fault for each in verification.findings] == [SealFault.FORGED]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("version", 2, "is of version 2"),
        ("counter", 0, "has the counter 0"),
        ("counter", True, "has the counter True"),
        ("counter", COUNTER_MAX + 1, "has the counter"),
        ("counter", "1", "has the counter '1'"),
        ("keyslots", ["0"], "version"),
        ("measurement", "xx", "hexadecimal"),
        ("measurement", None, "has no measurement"),
        ("record", 7, "has no measurement and record"),
        ("record", "", "record"),
        ("record", "!", "record"),
        ("record", record(b""), "record"),
        ("record", record(b"{}"), "has no parts"),
        ("record", record(b'{"parts":[7]}'), "no array"),
        ("record", record(b'{"parts":[[7]]}'), "no array"),
        ("record", record(b"[]"), "no JSON object"),
    ],
)
def test_a_seal_that_makes_no_sense_is_none_though_the_key_is_right(
    name: str, value: object, said: str
) -> None:
    def forge(document: Document) -> None:
        token = {**document["tokens"]["0"], name: value}
        document["tokens"]["0"] = {**token, "mac": plain.mac(token, VOLUME_KEY)}

    with change_document(sealed(), forge).unlock(FIRST) as unlocked:
        (finding,) = unlocked.verify_seal().findings
    assert finding.fault is SealFault.FORGED
    assert said in finding.text


def test_two_seals_are_none_until_one_is_made() -> None:
    def double(document: Document) -> None:
        document["tokens"]["3"] = document["tokens"]["0"]

    volume = change_document(sealed(), double)
    assert findings(volume) == ["tokens.3: 2 tokens say that they are the seal"]
    with volume.unlock(FIRST) as unlocked:
        accepted = unlocked.verify_seal().measurement
        with pytest.raises(SealError):
            unlocked.seal()
        assert unlocked.seal(accept=accepted).holds
    assert list(volume.metadata.tokens) == [0]


# --- what others change -------------------------------------------------------------------------


def test_each_changed_field_is_named_with_what_it_was_and_is() -> None:
    def change(document: Document) -> None:
        document["keyslots"]["1"]["kdf"]["iterations"] = 1001
        document["keyslots"]["1"]["priority"] = 0
        del document["keyslots"].pop("0")["kdf"]
        document["digests"]["0"]["keyslots"] = ["1"]
        document["tokens"]["1"] = {"type": "x", "keyslots": []}
        document["x-unknown"] = 7

    volume = change_document(sealed(), change)
    with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
        found = unlocked.verify_seal()
    told = {each.path: (str(each.fault), each.before, each.after) for each in found.findings}
    assert told.pop("areas.free")[0] == "changed"
    assert told == {
        "keyslots.1.kdf.iterations": ("changed", 1000, 1001),
        "keyslots.1.priority": ("added", None, 0),
        "digests.0.keyslots": ("changed", ["0", "1"], ["1"]),
        "tokens.1": ("added", None, None),
        "keyslots.0": ("removed", None, None),
        "areas.0": ("removed", None, None),
        "metadata.x-unknown": ("added", None, None),
    }
    assert found.counter == 1
    assert found.describe()["holds"] is False


def test_changed_key_material_is_named() -> None:
    volume = sealed()
    area = volume.metadata.keyslots[1].area
    volume.header_storage.write_at(area.offset + area.size - 1, b"!")
    assert findings(volume) == ["areas.1: key material changed since the header was sealed"]


def test_other_programs_spelling_breaks_no_seal() -> None:
    """cryptsetup writes members in its own order; a seqid and salts of its own."""
    volume = sealed()

    def put(copy: bytearray) -> None:
        copy[16:24] = (99).to_bytes(8, "big")
        copy[104:168] = bytes(64)
        document = builders.document_of(bytes(copy))
        text = compact_text(dict(reversed(document.items())))
        copy[4096:] = text.ljust(len(copy) - 4096, b"\0")

    rewritten = luksmeta.open(MemoryStorage(with_copies(builders.content(volume), put)))
    assert findings(rewritten) == []


def test_a_seal_that_does_not_hold_is_renewed_only_for_what_was_shown() -> None:
    volume = sealed()
    content = builders.content(volume)
    with volume.unlock(FIRST) as unlocked:
        volume.sealers.clear()  # as another program, which does not know the key
        volume.configure(label="changed")
        with pytest.raises(SealError, match=r"header\.label: changed"):
            unlocked.seal()
        shown = unlocked.verify_seal()
        volume.configure(label="changed again")
        with pytest.raises(SealError, match="changed again; nothing was sealed"):
            unlocked.seal(accept=shown.measurement)
        assert not unlocked.verify_seal().holds
        assert unlocked.seal(accept=unlocked.verify_seal().measurement).counter == 2
    assert findings(volume) == []
    assert builders.content(volume) != content


def test_the_first_seal_is_bound_to_what_was_shown_too() -> None:
    with builders.opened("luks2") as volume, volume.unlock(FIRST) as unlocked:
        shown = volume.measure()
        volume.configure(label="changed")
        with pytest.raises(SealError, match="changed again"):
            unlocked.seal(accept=shown)
        assert unlocked.seal(accept=volume.measure()).counter == 1


def test_a_damaged_copy_is_reported_and_made_good_by_the_next_seal() -> None:
    volume = sealed()
    volume.header_storage.write_at(16 << 10, bytes(4096))
    assert findings(volume) == ["header: secondary copy: secondary header: no magic at 0x4000"]
    with again(volume) as fresh:
        with fresh.unlock(FIRST) as unlocked:
            assert unlocked.seal().counter == 2
        assert findings(fresh) == []


def test_what_hides_in_the_other_copy_is_reported() -> None:
    def put(copy: bytearray) -> None:
        copy[4000] = 1

    content = with_copies(builders.content(sealed()), put, copies=(HeaderCopy.SECONDARY,))
    volume = luksmeta.open(MemoryStorage(content))
    assert findings(volume) == ["header: secondary copy: differs from the other one"]


def test_a_key_from_an_unencrypted_keyslot_proves_nothing() -> None:
    volume = builders.opened("luks2")
    with volume.unlock(FIRST) as unlocked:
        unlocked.add_keyslot(b"", encryption="cipher_null-ecb", area_key_size=32, pbkdf=KDF)
        unlocked.seal()
    with pytest.raises(SealError, match=r"keyslots\.1: its area is not encrypted"):
        volume.unlock(b"", require_seal=True)
    with volume.unlock(b"") as unlocked, pytest.raises(SealError, match="anybody"):
        unlocked.seal(accept=volume.measure())
    volume.unlock(FIRST, require_seal=True).close()


# --- room ---------------------------------------------------------------------------------------


def test_without_room_for_all_fields_each_part_has_a_fingerprint() -> None:
    volume = builders.opened("luks2", FIRST, SECOND)
    for number in range(4):
        volume.tokens.add({"type": "padding", "keyslots": [], "x": random_text(number, 1300)})
    with volume.unlock(FIRST) as unlocked:
        assert unlocked.seal().holds
        volume.sealers.clear()
        volume.set_priority(1, "ignore")
        (finding,) = unlocked.verify_seal().findings
    assert str(finding) == "keyslots.1: changed since the header was sealed"
    assert (finding.before, finding.after) == (None, None)
    token = next(each for each in volume.metadata.tokens.values() if each.type == SEAL_TYPE)
    assert len(str(token.as_read["record"])) < 400


def test_what_is_nested_too_deep_for_a_record_has_a_fingerprint() -> None:
    for depth in range(25, 29):
        value: JsonValue = 7
        for _ in range(depth):
            value = {"a": value}
        volume = builders.opened("luks2", FIRST, SECOND)
        volume.tokens.add({"type": "deep", "keyslots": [], "x": value})
        with volume.unlock(FIRST) as unlocked:
            assert unlocked.seal().holds
            unlocked.add_keyslot(THIRD, pbkdf=KDF)
        assert findings(volume) == []


def test_without_room_at_all_nothing_is_sealed() -> None:
    volume = builders.opened("luks2")
    text = "x" * (12 << 10)
    room = (12 << 10) - len(compact_text(builders.document_of(builders.content(volume))))
    volume.tokens.add({"type": "padding", "keyslots": [], "x": text[: room - 300]})
    before = builders.content(volume)
    with (
        volume.unlock(FIRST) as unlocked,
        pytest.raises(TokenError, match=r"seal: no room for it in the header: .* 12288"),
    ):
        unlocked.seal()
    assert builders.content(volume) == before


def test_a_change_that_leaves_the_seal_no_room_is_refused() -> None:
    volume = builders.opened("luks2")
    volume.tokens.add({"type": "padding", "keyslots": [], "x": "x" * (9 << 10)})
    with volume.unlock(FIRST) as unlocked:
        unlocked.seal()
        empty: dict[str, JsonValue] = {"type": "more", "keyslots": [], "x": ""}
        volume.tokens.add(empty)
        used = len(compact_text(builders.document_of(builders.content(volume))))
        before = builders.content(volume)
        room = (12 << 10) - used - len(compact_text({"9": empty})) - 2
        with pytest.raises(TokenError, match="no room"):
            volume.tokens.add({**empty, "x": random_text(1, room)})
        assert builders.content(volume) == before


def test_a_record_of_no_end_is_not_inflated() -> None:
    with pytest.raises(ValueError, match="record"):
        Record.from_text(record(b" " * (17 << 20)))


def test_the_last_counter_is_the_last() -> None:
    def forge(document: Document) -> None:
        token = {**document["tokens"]["0"], "counter": COUNTER_MAX}
        document["tokens"]["0"] = {**token, "mac": plain.mac(token, VOLUME_KEY)}

    volume = change_document(sealed(), forge)
    assert findings(volume) == []
    with volume.unlock(FIRST) as unlocked, pytest.raises(TokenError, match="the largest is"):
        unlocked.seal()


def random_text(seed: int, size: int) -> str:
    return stream(f"seal/{seed}", size // 2).hex()


# --- what we change -----------------------------------------------------------------------------

CHANGES: Final[dict[str, Change]] = {
    "add a keyslot": lambda _, unlocked: unlocked.add_keyslot(THIRD, pbkdf=KDF),
    "add a recovery key": lambda _, unlocked: unlocked.add_recovery_key(pbkdf=KDF)[1].wipe(),
    "change a keyslot": lambda _, unlocked: unlocked.change_keyslot(1, THIRD, pbkdf=KDF),
    "renew the digest": lambda _, unlocked: unlocked.renew_digest(iterations=1001),
    "add an unbound keyslot": lambda volume, _: volume.add_unbound_keyslot(
        THIRD, key_size=32, pbkdf=KDF, digest_iterations=1000
    ),
    "remove a keyslot": lambda volume, _: volume.remove_keyslot(1),
    "configure": lambda volume, _: volume.configure(label="new", flags=("allow-discards",)),
    "rename": lambda volume, _: volume.configure(uuid="c0ffee00-0000-4000-8000-000000000009"),
    "set a priority": lambda volume, _: volume.set_priority(1, "ignore"),
    "add a token": lambda volume, _: volume.tokens.add({"type": "x", "keyslots": ["0"]}),
    "shrink the keyslots area": lambda volume, _: volume.configure(keyslots_size=3 * (128 << 10)),
    "enlarge the copies": lambda volume, _: volume.configure(metadata_size=32 << 10),
}  # fmt: skip
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@every_change
def test_a_change_with_the_key_renews_the_seal(change: Change) -> None:
    warnings: list[str] = []
    volume = sealed()
    volume.warn = warnings.append
    with volume.unlock(FIRST) as unlocked:
        change(volume, unlocked)
        assert unlocked.verify_seal().holds
    assert findings(volume) == []
    assert (counter(volume) or 0) > 1
    assert not warnings


@every_change
def test_the_renewed_header_is_written_with_the_change_and_says_the_same_besides(
    change: Change,
) -> None:
    """A twin without a seal takes the same steps; what is random is drawn before."""
    plans = []
    for volume in (sealed(), builders.opened("luks2", FIRST, SECOND)):
        before = len(volume.written)
        with volume.unlock(FIRST) as unlocked:
            change(volume, unlocked)
        plans.append([plan.describe() for plan in volume.written[before:]])

    def comparable(plan: list[list[Step]]) -> list[Step]:
        return [
            {**step, "step": "write" if step["step"] == "random" else step["step"], "what": ""}
            for steps in plan
            for step in steps
        ]

    assert comparable(plans[0]) == comparable(plans[1])


@every_change
def test_every_header_on_the_way_is_sealed_and_a_crash_shows_in_nothing_but_wiped_areas(
    change: Change,
) -> None:
    volume = sealed()
    before, done = builders.content(volume), len(volume.written)
    with volume.unlock(FIRST) as unlocked:
        change(volume, unlocked)
    faults = {SealFault.COPY}
    for name, content in states(before, volume.written[done:]):
        with (
            luksmeta.open(MemoryStorage(content)) as found,
            found.unlock(volume_key=VOLUME_KEY) as unlocked,
        ):
            others = [each for each in unlocked.verify_seal().findings if each.fault not in faults]
        assert all(each.path.startswith("areas.") for each in others), (name, others)


@every_change
def test_a_change_of_a_header_that_others_changed_blesses_nothing(change: Change) -> None:
    warnings: list[str] = []
    volume = change_document(
        sealed(), lambda document: document["keyslots"]["1"].update({"x-foreign": 1})
    )
    volume.warn = warnings.append
    with volume.unlock(FIRST) as unlocked:
        change(volume, unlocked)
    assert findings(volume)
    assert warnings
    assert all("x-foreign" in each and "sealed again" in each for each in warnings)


@every_change
def test_where_the_seal_is_required_such_a_change_is_refused(change: Change) -> None:
    volume = sealed()
    with volume.unlock(FIRST, require_seal=True) as unlocked:
        other = change_document(
            volume, lambda document: document["keyslots"]["1"].update({"x-foreign": 1})
        )
        content = builders.content(other)
        volume.header_storage.write_at(0, content)
        with pytest.raises(SealError, match="x-foreign"):
            change(volume, unlocked)
    assert builders.content(volume) == content


def test_a_change_without_the_key_warns_and_is_done() -> None:
    warnings: list[str] = []
    volume = sealed()
    volume.warn = warnings.append
    volume.configure(label="new")
    assert volume.label == "new"
    assert warnings == [
        "the header is changed without the volume key; the seal will not hold until the header is "
        "sealed again"
    ]
    assert findings(volume) == ["header.label: changed since the header was sealed"]


def test_the_seal_itself_can_be_removed() -> None:
    warnings: list[str] = []
    volume = sealed()
    volume.warn = warnings.append
    volume.tokens.remove(0)
    assert findings(volume) == ["header: has no seal"]
    assert not warnings


def test_erasing_everything_warns_of_no_seal() -> None:
    warnings: list[str] = []
    volume = sealed()
    volume.warn = warnings.append
    volume.erase(everything=True)
    assert not warnings


@every_change
def test_where_the_seal_is_required_none_is_not_enough(change: Change) -> None:
    volume = sealed()
    with volume.unlock(FIRST, require_seal=True) as unlocked:
        other = change_document(volume, lambda document: document["tokens"].clear())
        volume.header_storage.write_at(0, builders.content(other))
        with pytest.raises(SealError, match="has no seal"):
            change(volume, unlocked)
    assert builders.content(volume) == builders.content(other)


def test_an_unlocked_volume_renews_until_it_is_closed() -> None:
    warnings: list[str] = []
    volume = sealed()
    volume.warn = warnings.append
    outer, inner = volume.unlock(FIRST, require_seal=True), volume.unlock(SECOND)
    inner.close()
    volume.configure(label="one")
    inner = volume.unlock(SECOND)
    outer.close()
    outer.close()
    volume.configure(label="two")
    assert findings(volume) == []
    inner.close()
    assert not warnings
    volume.configure(label="three")
    assert len(warnings) == 1


def test_a_renewal_is_computed_again_when_another_process_was_faster() -> None:
    volume = sealed()
    rival = luksmeta.open(volume.header_storage, writable=True)
    attempts: list[int] = []

    def compute(header: Header) -> list[HeaderChange]:
        assert isinstance(header, Luks2Header)
        if not attempts:
            with rival.unlock(SECOND) as unlocked:
                unlocked.add_keyslot(THIRD, pbkdf=KDF)
        attempts.append(header.seqid)
        return [reword(header, header.metadata, "say the same")]

    with volume.unlock(FIRST):
        volume.change(compute)
    assert len(attempts) == 2
    assert findings(volume) == []
    assert counter(volume) == 3


def test_a_renewal_refuses_what_a_faster_process_changed_without_the_key() -> None:
    warnings: list[str] = []
    volume = sealed()
    volume.warn = warnings.append
    rival = luksmeta.open(volume.header_storage, writable=True)
    with volume.unlock(FIRST) as unlocked:
        rival.configure(label="foreign")
        unlocked.add_keyslot(THIRD, pbkdf=KDF)
    assert len(warnings) == 1
    assert "header.label" in warnings[0]
    assert "header.label: changed since the header was sealed" in findings(volume)


# --- on which terms -----------------------------------------------------------------------------


def test_an_older_sealed_header_is_told_by_counter_and_measurement() -> None:
    volume = sealed()
    old = builders.content(volume)
    with volume.unlock(FIRST) as unlocked:
        unlocked.add_keyslot(THIRD, pbkdf=KDF)
        last = unlocked.verify_seal().counter
        measurement = volume.measure("sha384")
    for good in (SealTerms(), SealTerms(last), SealTerms(1), SealTerms(last, measurement)):
        volume.unlock(FIRST, require_seal=good).close()
    back = luksmeta.open(MemoryStorage(old))
    back.unlock(FIRST, require_seal=True).close()
    for terms, said in (
        (SealTerms(last), "counter is 1, it has been 2"),
        (SealTerms(measurement=measurement), "another measurement"),
    ):
        with pytest.raises(SealError, match=said) as caught:
            back.unlock(FIRST, require_seal=terms)
        assert [each.fault for each in caught.value.findings] == [SealFault.ROLLBACK]  # type: ignore[attr-defined]


def test_a_measurement_of_no_hashs_size_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="measurement of 20 bytes"):
        SealTerms(measurement=bytes(20))


# --- check and use ------------------------------------------------------------------------------


class TurningStorage(MemoryStorage):
    """Gives another content from the second reading of any byte on, as a hostile disk may."""

    def __init__(self, data: BytesLike, turned: bytes) -> None:
        super().__init__(data)
        self._turned, self._seen = turned, bytearray(len(data))

    def _read(self, offset: int, size: int) -> bytes:
        honest = super()._read(offset, size)
        seen, end = self._seen[offset : offset + size], offset + size
        self._seen[offset:end] = b"\1" * size
        turned = self._turned[offset:end]
        return bytes(t if s else h for h, t, s in zip(honest, turned, seen, strict=True))


def test_what_is_verified_is_what_was_used() -> None:
    """The keyslot opens from good bytes; the disk is evil at once after, and need not be asked."""
    volume = sealed()
    good = builders.content(volume)
    area = volume.metadata.keyslots_area
    evil = good[: area.offset] + bytes(area.size) + good[area.end :]
    with (
        luksmeta.open(TurningStorage(good, evil)) as turning,
        turning.unlock(FIRST, require_seal=True) as unlocked,
    ):
        assert unlocked.volume_key.matches(VOLUME_KEY)
    with (
        luksmeta.open(TurningStorage(evil, good)) as turning,
        pytest.raises(luksmeta.PassphraseError),
    ):
        turning.unlock(FIRST, require_seal=True)


def test_a_header_that_was_changed_with_its_seal_before_unlocking_is_read_again() -> None:
    volume = sealed()
    with luksmeta.open(volume.header_storage) as stale:
        with volume.unlock(FIRST) as unlocked:
            unlocked.add_keyslot(THIRD, pbkdf=KDF)
            volume.configure(metadata_size=32 << 10)
        with stale.unlock(THIRD, require_seal=True) as unlocked:
            assert unlocked.keyslot == 2


def test_keys_are_wiped_where_the_seal_does_not_hold() -> None:
    volume = builders.opened("luks2")
    with pytest.raises(SealError, match="has no seal"):
        volume.unlock(FIRST, require_seal=True)
    assert not volume.sealers
