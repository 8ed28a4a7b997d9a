"""Volumes: the façade over headers, keyslots and segments.

A :class:`Volume` is locked and cannot give plaintext; :meth:`Volume.unlock` makes an
:class:`~luksmeta.unlocked_volume.UnlockedVolume`, which can, and which owns the volume key.
What only some methods need is imported there: imports are most of a short command's time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from luksmeta import digests, key_management, requirements, unlocking
from luksmeta.errors import KeyslotError, LuksError, StorageBusyError, errors_about
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange
from luksmeta.kdf.pbkdf import Limits, Pbkdf
from luksmeta.keyslot import trial_order
from luksmeta.locking import locked
from luksmeta.model import AnyKeyslot, Keyslot, KeyslotPriority
from luksmeta.new_keyslot import DEFAULT_HASH, KeyslotOptions
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.storage import MemoryStorage, Storage
from luksmeta.stored_header import StoredHeader
from luksmeta.tokens.notes import Note, new_tokens, note_of
from luksmeta.trust.terms import SealTerms
from luksmeta.unlocked_volume import UnlockedVolume
from luksmeta.unlocking import open_with_passphrase, open_with_volume_key

if TYPE_CHECKING:
    from luksmeta.volume_tokens import VolumeTokens


class Volume(StoredHeader):
    """A locked volume: its header can be inspected, changed and unlocked.

    A context manager: closes its storages, also those that were handed over.
    """

    def __init__(self, header: Header, header_storage: Storage, data_storage: Storage) -> None:
        super().__init__(header, header_storage)
        self.data_storage = data_storage

    # --- what it is ---

    @property
    def version(self) -> int:
        """1 or 2."""
        return self.metadata.version

    @property
    def uuid(self) -> str:
        """The UUID, as written in the header."""
        return self.metadata.uuid

    @property
    def label(self) -> str:
        """The label; empty when there is none."""
        return self.metadata.label

    @property
    def keyslots(self) -> Mapping[int, AnyKeyslot]:
        """The keyslots in use, by id, in the order of trying."""
        return self.metadata.keyslots

    @property
    def tokens(self) -> VolumeTokens:
        """The LUKS2 tokens by id, and what can be done with them."""
        from luksmeta.volume_tokens import VolumeTokens

        return VolumeTokens(self)

    def note(self, keyslot: int) -> Note | None:
        """Whose a keyslot is, and what for, where a ``luksmeta-note`` token says it."""
        return note_of(self.metadata, keyslot)

    @property
    def is_detached(self) -> bool:
        """Whether the header lies in another file than the data."""
        return self.header_storage is not self.data_storage

    # --- unlocking ---

    def unlock(
        self,
        passphrase: BytesLike | SecretBytes | None = None,
        *,
        keyslot: int | Collection[int] | None = None,
        volume_key: BytesLike | SecretBytes | None = None,
        limits: Limits | None = None,
        require_seal: bool | SealTerms = False,
    ) -> UnlockedVolume:
        """Unlock with a passphrase, or with the volume key itself.

        Keyslots are tried by priority; ``keyslot`` names the only one or ones to try, in that
        order, also unbound ones. With ``require_seal`` the seal must hold, on these terms, for the
        very header and key material that the key comes from, and for every change afterwards.
        Raises PassphraseError (``tried`` says which), VolumeKeyError, RequirementError,
        ResourceLimitError when a KDF costs more than ``limits`` allow, AlgorithmError, SealError.
        """
        if (passphrase is None) == (volume_key is None):
            raise TypeError("unlock takes either a passphrase or a volume key")
        with errors_about(self.header_storage.name):
            requirements.allow_unlocking(self.metadata)
            storage = self._held() if require_seal else self.header_storage
            if volume_key is not None:
                keys = open_with_volume_key(self.metadata, volume_key, limits)
            elif passphrase is not None:
                keyslots = self._keyslots_to_try(keyslot)
                keys = open_with_passphrase(self.metadata, storage, passphrase, keyslots, limits)
            unlocked = UnlockedVolume(self, keys, requires_seal=bool(require_seal))
            if require_seal:
                try:
                    terms = require_seal if isinstance(require_seal, SealTerms) else None
                    unlocked.verify_seal(terms, storage=storage).require()
                except BaseException:
                    unlocked.close()
                    raise
        return unlocked

    def _held(self) -> Storage:
        """What lies before the data, read once: nothing can change between check and use."""
        from luksmeta.trust import canonical

        storage = self.header_storage
        with locked(storage, exclusive=False):
            if not self.header.is_current(storage):
                self._reload()
            size = min(storage.size, canonical.header_end(self.metadata))
            return MemoryStorage(storage.read_at(0, size), name=storage.name)

    def measure(self, hash: str = "sha256") -> bytes:
        """A digest of all that the header says, the same whoever wrote it and however.

        By ``sha256``, ``sha384`` or ``sha512``; spec/header-trust.md says of what. No key is
        needed, and a seal changes nothing. Raises StorageBusyError when another process has changed
        the header, StorageError, ValueError.
        """
        from luksmeta.trust import canonical
        from luksmeta.trust.verification import measure

        storage = self.header_storage
        with locked(storage, exclusive=False):
            if not self.header.is_current(storage):
                raise StorageBusyError("the header has been changed").about(storage.name)
            return measure(canonical.tree(self.header, storage), hash)

    def _keyslots_to_try(self, named: int | Collection[int] | None) -> tuple[int, ...]:
        if named is None:
            return tuple(
                keyslot_id
                for keyslot_id in trial_order(self.keyslots)
                if self.metadata.is_bound(keyslot_id) and keyslot_id in self.header.keyslot_ids
            )
        ids = (named,) if isinstance(named, int) else tuple(named)
        for keyslot_id in ids:
            self.metadata.keyslot(keyslot_id)
        return ids

    def keyslots_that_open(
        self, passphrase: BytesLike | SecretBytes, *, limits: Limits | None = None
    ) -> tuple[tuple[int, ...], Mapping[int, LuksError]]:
        """All keyslots that this passphrase opens, also unbound ones and those to be ignored.

        With them, what kept a keyslot from being tried (ResourceLimitError, AlgorithmError…).
        Raises RequirementError.
        """
        requirements.allow_unlocking(self.metadata)
        ids = sorted(each for each, it in self.keyslots.items() if isinstance(it, Keyslot))
        return unlocking.keyslots_that_open(
            self.metadata, self.header_storage, passphrase, ids, limits
        )

    # --- changes that need no key ---

    def add_unbound_keyslot(
        self,
        passphrase: BytesLike | SecretBytes,
        *,
        key: BytesLike | SecretBytes | None = None,
        key_size: int | None = None,
        keyslot: int | None = None,
        digest_iterations: int | None = None,
        priority: KeyslotPriority | str | None = None,
        pbkdf: Pbkdf | None = None,
        hash: str | None = None,
        encryption: str | None = None,
        area_key_size: int | None = None,
        note: Note | None = None,
    ) -> int:
        """A keyslot for a key that opens no data: ``key``, or ``key_size`` random bytes; its id.

        The key has a digest of its own; the keyslot is tried only when it is named. LUKS2 alone has
        such keyslots: UnsupportedError. Raises ValueError for a key of no or more than 512 bytes,
        KeyslotError for an id that is taken or out of range and when all 8 digests are in use,
        KeyslotsAreaFullError.
        """
        self.require_changeable()
        digests.require_unbound(self.metadata)
        key_management.new_keyslot_id(self.header, keyslot)
        options = KeyslotOptions(
            pbkdf=pbkdf,
            hash=hash,
            priority=None if priority is None else KeyslotPriority.named(priority),
            encryption=encryption,
            area_key_size=area_key_size,
            tokens=new_tokens(note),
        )
        added: list[int] = []
        with digests.unbound_key(key, key_size) as secret:
            digest = digests.make(2, secret, hash or DEFAULT_HASH, iterations=digest_iterations)

            def with_keyslot(header: Header) -> list[HeaderChange]:
                added[:] = [key_management.new_keyslot_id(header, keyslot)]
                return [digests.add_unbound(header, added[0], passphrase, secret, digest, options)]

            self.change(with_keyslot)
        return added[0]

    def remove_keyslot(self, keyslot: int | Collection[int], *, allow_last: bool = False) -> None:
        """Remove a keyslot, or several one after another, and wipe their areas.

        Tokens of systemd's and of luksmeta's that were theirs alone go too. Raises
        KeyslotNotFoundError, and KeyslotError when no keyslot would be left of a key that the data
        needs (two, during a reencryption), unless ``allow_last``; nothing has been removed then.
        """
        ids = sorted({keyslot} if isinstance(keyslot, int) else set(keyslot))
        named = {each: self.metadata.keyslots.get(each) for each in ids}

        def removed(header: Header) -> list[HeaderChange]:
            for keyslot_id, found in named.items():
                key_management.require_same(header, keyslot_id, found)
            changes = key_management.remove_all(header, ids)
            loss = key_management.loss_of(header.metadata, ids)
            if loss is not None and not allow_last:
                raise KeyslotError(f"{loss}; allow_last is needed")
            return changes

        self.change(removed, requirements.allow_removal)

    def erase(self, *, everything: bool = False) -> None:
        """Remove every keyslot that opens the volume; only a header backup brings one back.

        With ``everything`` also the others, the whole keyslots area, and the header: afterwards
        there is no volume, and this object is good for nothing but to be closed.
        """
        from luksmeta import erasure

        if everything:
            self.change(erasure.erase_everything, requirements.allow_anything)
        else:
            self.change(erasure.erase, requirements.allow_removal)

    def configure(
        self,
        *,
        uuid: str | None = None,
        label: str | None = None,
        subsystem: str | None = None,
        flags: tuple[str, ...] | None = None,
        priorities: Mapping[int, KeyslotPriority | str] | None = None,
        metadata_size: int | None = None,
        keyslots_size: int | None = None,
        notes: Mapping[int, Note] | None = None,
    ) -> None:
        """Set what is not None, all with one write of the header but for the sizes.

        ``flags`` replaces all persistent flags; ``priorities`` says of keyslots when each is tried:
        ``ignore``, ``normal`` or ``high`` (``prefer``). ``metadata_size`` (of one header copy) and
        ``keyslots_size`` are in bytes; keyslot areas in the way are moved, the data never is.
        ``notes`` are those of keyslots, an empty one removes what was there.
        Raises UnsupportedError for what LUKS1 has no place for and for sizes that the data leaves
        no room for, KeyslotsAreaFullError when the keyslots do not fit, KeyslotNotFoundError,
        ValueError for a label too long or with control characters, a malformed UUID, an unknown
        flag or priority, an illegal size.
        """
        from luksmeta.configuration import Settings

        settings = Settings(
            uuid=uuid,
            label=label,
            subsystem=subsystem,
            flags=flags,
            priorities=priorities,
            notes=notes,
            metadata_size=metadata_size,
            keyslots_size=keyslots_size,
        )
        ids = {*(priorities or {}), *(notes or {})}
        named = {each: self.metadata.keyslots.get(each) for each in ids}

        def configured(header: Header) -> list[HeaderChange]:
            for keyslot_id, keyslot in named.items():
                key_management.require_same(header, keyslot_id, keyslot)
            return settings.changes(header, self.header_storage)

        self.change(configured)

    def set_priority(self, keyslot: int, priority: KeyslotPriority | str) -> None:
        """Set when a keyslot is tried: ``ignore``, ``normal`` or ``high`` (``prefer``)."""
        self.configure(priorities={keyslot: priority})

    def close(self) -> None:
        """Close the files; harmless when repeated."""
        self.header_storage.close()
        self.data_storage.close()

    def __repr__(self) -> str:
        return f"<Volume luks{self.version} uuid={self.uuid} {self.data_storage.name}>"
