"""Volumes: the façade over headers, keyslots and segments.

A :class:`Volume` is locked and cannot give plaintext; :meth:`Volume.unlock` makes an
:class:`~luksmeta.unlocked_volume.UnlockedVolume`, which can, and which owns the volume key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Final

from luksmeta import digests, erasure, key_management, requirements, unlocking
from luksmeta.closing import Closing
from luksmeta.configuration import Settings
from luksmeta.errors import (
    HeaderError,
    KeyslotError,
    LuksError,
    MetadataError,
    StorageBusyError,
    UnsupportedError,
    errors_about,
)
from luksmeta.header import Header, read_header
from luksmeta.header_change import HeaderChange
from luksmeta.kdf.pbkdf import Limits, Pbkdf
from luksmeta.keyslot import trial_order
from luksmeta.locking import locked
from luksmeta.model import AnyKeyslot, Keyslot, KeyslotPriority, Metadata
from luksmeta.new_keyslot import DEFAULT_HASH, KeyslotOptions
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.signatures import find_foreign_signatures
from luksmeta.storage import MemoryStorage, Storage
from luksmeta.tokens.notes import Note, new_tokens, note_of
from luksmeta.trust import canonical, sealing
from luksmeta.trust.sealing import Sealer
from luksmeta.trust.verification import SealTerms, measure
from luksmeta.unlocked_volume import UnlockedVolume
from luksmeta.unlocking import open_with_passphrase, open_with_volume_key
from luksmeta.volume_tokens import VolumeTokens
from luksmeta.write_plan import Progress, WritePlan

_ATTEMPTS: Final = 3  # at a change without the lock, while others change the same header


class Volume(Closing):
    """A locked volume: its header can be inspected, changed and unlocked.

    ``written`` lists every plan that was applied, in order; ``progress`` is called while one is.
    ``warn`` is called with a sentence when a change leaves a seal behind that no longer holds;
    ``sealers``, one for each unlocked volume that is open, renew it.
    A context manager: closes its storages, also those that were handed over.
    """

    def __init__(self, header: Header, header_storage: Storage, data_storage: Storage) -> None:
        self.header = header
        self.header_storage = header_storage
        self.data_storage = data_storage
        self.written: list[WritePlan] = []
        self.progress: Progress | None = None
        self.warn: Callable[[str], None] | None = None
        self.sealers: list[Sealer] = []

    # --- what it is ---

    @property
    def metadata(self) -> Metadata:
        """What the header says."""
        return self.header.metadata

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

    # --- applying changes ---

    def change(
        self,
        compute: Callable[[Header], list[HeaderChange]],
        allow: Callable[[Metadata], None] = requirements.allow_changes,
        *,
        keeps_seal: bool = True,
    ) -> None:
        """Apply what ``compute`` makes of the header; again when another process was faster.

        It is computed without the lock, since a key derivation takes long; when others were faster
        each time, at last with it. A seal that held is renewed in the same writes while an unlocked
        volume is open, else ``warn`` is called; with ``keeps_seal`` false ``compute`` sees to it.

        ``allow`` raises RequirementError for a header that must not be changed. Raises HeaderError
        when a header copy is damaged and something else lies there, which writing would destroy;
        JsonAreaFullError and UnsupportedError for what the header has no place for;
        StorageBusyError when another process keeps the lock too long, or has put another volume
        there.
        """
        with errors_about(self.header_storage.name):
            for _ in range(_ATTEMPTS):
                if self._changed_in_time(compute, allow, keeps_seal):
                    return
            with locked(self.header_storage, exclusive=True):
                self._reload()
                changes = self._computed(compute, allow)
                self.apply(self._sealed(changes) if keeps_seal else changes)

    def _changed_in_time(
        self,
        compute: Callable[[Header], list[HeaderChange]],
        allow: Callable[[Metadata], None],
        keeps_seal: bool,
    ) -> bool:
        """Compute without the lock, and apply that unless another process was faster."""
        changes = self._computed(compute, allow)
        with locked(self.header_storage, exclusive=True):
            if self.header.is_current(self.header_storage):
                self.apply(self._sealed(changes) if keeps_seal else changes)
                return True
            self._reload()
            return False

    def _computed(
        self,
        compute: Callable[[Header], list[HeaderChange]],
        allow: Callable[[Metadata], None],
    ) -> list[HeaderChange]:
        """The changes; the present header is not to blame for one that could not be read back."""
        self.require_changeable(allow)
        try:
            return compute(self.header)
        except MetadataError as error:
            raise UnsupportedError(f"the header cannot say that: {error.text}") from error

    def require_changeable(
        self, allow: Callable[[Metadata], None] = requirements.allow_changes
    ) -> None:
        """Raise what :meth:`change` would, as far as it is known before the change is.

        A damaged copy may be somebody's partition table or file system: not written over, as
        cryptsetup asks first (lib/luks2/luks2_disk_metadata.c, ambiguous signatures).
        """
        allow(self.metadata)
        if not any(copy.problem for copy in self.header.copies):
            return
        foreign = find_foreign_signatures(self.header_storage)
        if foreign:
            raise HeaderError(
                f"{', '.join(map(str, foreign))} lies over a header copy and would be destroyed; "
                "nothing was changed"
            ).about(self.header_storage.name)

    def apply(self, changes: list[HeaderChange]) -> None:
        """Write ``changes`` in order; after a StorageError the header is the last whole one's."""
        for change in changes:
            change.plan.apply(self.header_storage, self.progress)
            self.header = change.header
            self.written.append(change.plan)

    def _sealed(self, changes: list[HeaderChange]) -> list[HeaderChange]:
        return sealing.kept(
            self.header, self.header_storage, changes, sealers=self.sealers, warn=self.warn
        )

    def _reload(self) -> None:
        header = read_header(self.header_storage)
        if _identity(header.metadata) != _identity(self.metadata):
            raise StorageBusyError("another process has put another volume there").advise(None)
        self.header = header

    def close(self) -> None:
        """Close the files; harmless when repeated."""
        self.header_storage.close()
        self.data_storage.close()

    def __repr__(self) -> str:
        return f"<Volume luks{self.version} uuid={self.uuid} {self.data_storage.name}>"


def _identity(metadata: Metadata) -> tuple[object, ...]:
    """What stays through every change of keyslots and settings: the data, and its key's digest."""
    digests = {
        digest_id: replace(digest, keyslots=())
        for digest_id, digest in metadata.digests.items()
        if digest.segments
    }
    return metadata.version, metadata.segments, digests
