"""A volume whose key is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from luksmeta import digests, key_management, reencryption, requirements
from luksmeta.closing import Closing
from luksmeta.errors import KeyslotError, StorageError
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange
from luksmeta.kdf.calibrate import DIGEST_MILLISECONDS
from luksmeta.kdf.pbkdf import Pbkdf
from luksmeta.locking import locked
from luksmeta.model import KeyslotPriority, Metadata, Pbkdf2Digest
from luksmeta.new_keyslot import DEFAULT_HASH, KeyslotOptions
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.segment import lay_out, refuse_data_over_header
from luksmeta.segment_stream import SegmentStream
from luksmeta.storage import Storage
from luksmeta.tokens import recovery
from luksmeta.tokens.notes import Note, new_tokens
from luksmeta.trust.terms import Sealer, SealTerms
from luksmeta.unlocking import OpenedKeys

if TYPE_CHECKING:
    from luksmeta.trust.verification import SealVerification
    from luksmeta.volume import Volume


class UnlockedVolume(Closing):
    """A volume with its key: reads, writes, and makes keyslots. A context manager: wipes its keys.

    ``keyslot`` is the id of the one that opened; None when the volume key was given.
    """

    def __init__(self, volume: Volume, keys: OpenedKeys, *, requires_seal: bool = False) -> None:
        self._volume = volume
        self._keys = keys
        self._digests = {each: volume.metadata.digests[each] for each in keys.by_digest}
        self._sealer: Sealer | None = None
        if self._digests[keys.digest].segments:  # an unbound key is not the volume's
            self._sealer = Sealer(self.volume_key, keys.keyslot, is_required=requires_seal)
            volume.sealers.append(self._sealer)

    @property
    def keyslot(self) -> int | None:
        """The keyslot that opened."""
        return self._keys.keyslot

    @property
    def metadata(self) -> Metadata:
        """What the header says now."""
        return self._volume.metadata

    @property
    def volume_key(self) -> SecretBytes:
        """The key that opened, valid until this object is closed."""
        return self._keys.by_digest[self._keys.digest]

    @property
    def data_storage(self) -> Storage:
        """What holds the data; the volume closes it."""
        return self._volume.data_storage

    @property
    def keys_by_digest(self) -> Mapping[int, SecretBytes]:
        """Every key that opened, by digest id: during a reencryption the old one and the new."""
        return self._keys.by_digest

    def add_keyslot(
        self,
        passphrase: BytesLike | SecretBytes,
        *,
        keyslot: int | None = None,
        priority: KeyslotPriority | str | None = None,
        pbkdf: Pbkdf | None = None,
        hash: str | None = None,
        encryption: str | None = None,
        area_key_size: int | None = None,
        note: Note | None = None,
    ) -> int:
        """A new keyslot for this passphrase; its id: ``keyslot``, or the lowest free one.

        ``note`` gets the present time. Raises KeyslotError for an id that is taken or out of range,
        KeyslotsAreaFullError; for a note UnsupportedError in LUKS1, TokenError without room.
        """
        options = KeyslotOptions(
            pbkdf=pbkdf,
            hash=hash,
            priority=None if priority is None else KeyslotPriority.named(priority),
            encryption=encryption,
            area_key_size=area_key_size,
            tokens=new_tokens(note),
        )
        return self._add(passphrase, keyslot, options)

    def add_recovery_key(
        self,
        *,
        keyslot: int | None = None,
        priority: KeyslotPriority | str | None = None,
        pbkdf: Pbkdf | None = None,
        hash: str | None = None,
        encryption: str | None = None,
        area_key_size: int | None = None,
        note: Note | None = None,
    ) -> tuple[int, SecretBytes]:
        """A new keyslot for a random recovery key, which systemd takes too: its id, and the key.

        The key is 71 ASCII characters, and is nowhere else: the caller shows it, and wipes it. Its
        keyslot and the ``systemd-recovery`` token that marks it come with one write of the header.
        Raises what :meth:`add_keyslot` does, and UnsupportedError in LUKS1.
        """
        options = KeyslotOptions(
            pbkdf=pbkdf or recovery.KDF,
            hash=hash or recovery.HASH,
            priority=None if priority is None else KeyslotPriority.named(priority),
            encryption=encryption,
            area_key_size=area_key_size,
            tokens=(recovery.token(), *new_tokens(note)),
        )
        key = recovery.make_key()
        try:
            return self._add(key, keyslot, options), key
        except BaseException:
            key.wipe()
            raise

    def _add(
        self,
        passphrase: BytesLike | SecretBytes,
        keyslot: int | None,
        options: KeyslotOptions,
    ) -> int:
        if keyslot is not None:
            key_management.require_free(self._volume.header, keyslot)
        added: list[int] = []

        def with_keyslot(header: Header) -> list[HeaderChange]:
            keyslot_id = key_management.new_keyslot_id(header, keyslot)
            added[:] = [keyslot_id]
            key = self._key_proved_by(header, self._keys.digest)
            return [
                key_management.add(header, keyslot_id, passphrase, key, self._keys.digest, options)
            ]

        self._volume.change(with_keyslot)
        return added[0]

    def change_keyslot(
        self,
        keyslot: int,
        passphrase: BytesLike | SecretBytes,
        *,
        pbkdf: Pbkdf | None = None,
        hash: str | None = None,
        encryption: str | None = None,
        area_key_size: int | None = None,
        keep_id: bool = True,
    ) -> int:
        """Give a keyslot another passphrase or KDF; its id afterwards.

        One of the old and the new key opens the volume at every moment, as long as there is room
        for both. In LUKS1 a keyslot keeps its id only by being written twice: see ``keep_id``.
        Raises KeyslotNotFoundError, and KeyslotError for a keyslot that holds another key.
        """
        options = KeyslotOptions(
            pbkdf=pbkdf,
            hash=hash,
            encryption=encryption,
            area_key_size=area_key_size,
        )
        named = self._volume.metadata.keyslots.get(keyslot)
        changed: list[int] = []

        def with_change(header: Header) -> list[HeaderChange]:
            key_management.require_same(header, keyslot, named)
            keyslot_id, changes = key_management.change(
                header, keyslot, passphrase, self._key_of(header, keyslot), options, keep_id=keep_id
            )
            changed[:] = [keyslot_id]
            return changes

        self._volume.change(with_change)
        return changed[0]

    def renew_digest(
        self,
        *,
        hash: str | None = None,
        milliseconds: int = DIGEST_MILLISECONDS,
        iterations: int | None = None,
        bind: Collection[int] = (),
    ) -> tuple[int, Pbkdf2Digest]:
        """Prove the key that opened by a new digest, with fresh salt and cost: its id, and itself.

        All keyslots and segments of the old digest become the new one's, with one write of the
        header. ``hash`` is the old digest's unless given; checking a key takes ``milliseconds``
        here, or ``iterations``. ``bind`` names unbound keyslots that hold the same key: they open
        the data then. Raises ValueError for costs that no digest should have, UnsupportedError for
        another hash in LUKS1, KeyslotError for a keyslot that cannot be bound.
        """
        digest_id, key = self._keys.digest, self.volume_key
        old = self._digests[digest_id]
        if hash is None and isinstance(old, Pbkdf2Digest):
            hash = old.hash
        new = digests.make(
            self._volume.version,
            key,
            hash or DEFAULT_HASH,
            milliseconds=milliseconds,
            iterations=iterations,
        )

        renewed = new

        def with_digest(header: Header) -> list[HeaderChange]:
            nonlocal renewed
            self._key_proved_by(header, digest_id)
            change, renewed = digests.renew(header, digest_id, new, key, bind)
            return [change]

        self._volume.change(with_digest)
        self._digests[digest_id] = renewed
        return digest_id, renewed

    def seal(self, *, accept: bytes | None = None) -> SealVerification:
        """Seal the header as it is, or renew its seal; what came of it.

        A seal that does not hold is renewed with ``accept`` alone: the measurement of the changed
        header, as :meth:`verify_seal` gave it with the changes, so that nothing else is accepted.
        Raises SealError otherwise, UnsupportedError in LUKS1, TokenError without room, KeyslotError
        when an unbound keyslot was opened.
        """
        from luksmeta.trust import sealing

        sealer, storage = self._required_sealer(), self._volume.header_storage
        self._volume.change(
            lambda header: [
                sealing.seal(
                    header, storage, sealer.volume_key, opened_by=sealer.opened_by, accept=accept
                )
            ],
            keeps_seal=False,
        )
        return self.verify_seal()

    def verify_seal(
        self, terms: SealTerms | None = None, *, storage: Storage | None = None
    ) -> SealVerification:
        """Hold the header against its seal; what differs is in the verification's findings.

        ``storage`` stands in for the header's own. Raises KeyslotError when an unbound keyslot was
        opened, StorageError.
        """
        from luksmeta.trust.verification import verify

        sealer, header = self._required_sealer(), self._volume.header
        storage = storage or self._volume.header_storage
        with locked(storage, exclusive=False):
            return verify(header, storage, sealer.volume_key, terms, opened_by=sealer.opened_by)

    def _required_sealer(self) -> Sealer:
        if self._sealer is None:
            raise KeyslotError(
                f"keyslot {self.keyslot}: is unbound; the volume key is needed for the seal"
            )
        return self._sealer

    def open(self, *, writable: bool = False, storage: Storage | None = None) -> SegmentStream:
        """The plaintext as a raw stream. Closing it wipes its ciphers' keys.

        ``storage`` stands in for the volume's own data, an overlay of it, say.

        Raises UnsupportedError for segments that cannot be read in user space, StorageError when
        the data's device is read-only or ends before the data starts, RequirementError to write
        during a reencryption, VolumeKeyError when that reencryption was not begun with the keys.
        """
        volume = self._volume
        storage = storage or volume.data_storage
        if writable:
            requirements.allow_changes(volume.metadata)
            if not storage.writable:
                raise StorageError("opened read-only").about(storage.name)
        if requirements.is_reencrypting(volume.metadata):
            reencryption.check(volume.metadata, self._keys.by_digest, self._keys.limits)
        if not volume.is_detached:
            refuse_data_over_header(volume.metadata)
        runs = lay_out(volume.metadata, self._keys.by_digest, storage)
        return SegmentStream(storage, runs, writable=writable)

    def _key_of(self, header: Header, keyslot: int) -> SecretBytes:
        """The key that a keyslot holds; KeyslotError when it is none of those that are open."""
        header.metadata.keyslot(keyslot)
        found = header.metadata.digest_of_keyslot(keyslot)
        if found is None or found[0] not in self._digests:
            raise KeyslotError(f"keyslot {keyslot}: holds another key than the one that is open")
        return self._key_proved_by(header, found[0])

    def _key_proved_by(self, header: Header, digest_id: int) -> SecretBytes:
        """The open key of a digest; KeyslotError when another process has put another one there."""
        now = header.metadata.digests.get(digest_id)
        before = self._digests[digest_id]
        if now is None or replace(now, keyslots=(), segments=()) != replace(
            before, keyslots=(), segments=()
        ):
            raise KeyslotError(f"digest {digest_id}: no longer the one that proved the open key")
        return self._keys.by_digest[digest_id]

    def close(self) -> None:
        """Wipe the keys; harmless when repeated."""
        if self._sealer in self._volume.sealers:
            self._volume.sealers.remove(self._sealer)
        self._keys.wipe()
