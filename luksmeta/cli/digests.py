"""``renew-digest``."""

from __future__ import annotations

import click

from luksmeta.cli import output, progress
from luksmeta.cli.key_options import UnlockOptions, unlock_options
from luksmeta.cli.keyslot_options import (
    force_iterations_option,
    iter_time_option,
    require_one_cost,
)
from luksmeta.cli.options import VolumeOptions, dry_run_option, json_option, volume_options
from luksmeta.cli.unlocking import open_to_change, unlock
from luksmeta.kdf.calibrate import DIGEST_MILLISECONDS
from luksmeta.kdf.pbkdf import MIN_ITERATIONS
from luksmeta.model import Pbkdf2Digest


@click.command("renew-digest", short_help="Prove the volume key by a new digest.")
@volume_options
@unlock_options("This keyslot only; an unbound one's digest is its own.")
@click.option("-h", "--hash", "hash_name", metavar="NAME", help="Default: the old digest's.")
@iter_time_option("Checking the key", DIGEST_MILLISECONDS)
@force_iterations_option("Iterations", MIN_ITERATIONS)
@click.option(
    "--bind",
    type=int,
    multiple=True,
    metavar="N",
    help="LUKS2: unbound keyslot N holds the same key, and opens the data from now on.",
)
@json_option
@dry_run_option
def renew_digest_command(
    *,
    volume: VolumeOptions,
    key: UnlockOptions,
    hash_name: str | None,
    iter_time: int | None,
    pbkdf_force_iterations: int | None,
    bind: tuple[int, ...],
    as_json: bool,
    dry_run: bool,
) -> None:
    """Prove the volume key by a new digest, with fresh salt and cost.

    Whoever reads the header can try volume keys against the digest. All keyslots and segments of
    the old digest become the new one's; passphrases and data stay as they are.
    """
    require_one_cost(iter_time, pbkdf_force_iterations)
    with (
        open_to_change(volume, dry_run=dry_run) as opened,
        unlock(opened, key, keyslot=key.key_slot) as unlocked,
    ):
        with progress.waiting("Deriving the digest"):
            digest_id, digest = unlocked.renew_digest(
                hash=hash_name,
                milliseconds=iter_time or DIGEST_MILLISECONDS,
                iterations=pbkdf_force_iterations,
                bind=tuple(dict.fromkeys(bind)),
            )
        if dry_run:
            output.say_plans(opened.written, as_json=as_json)
        else:
            _report(digest_id, digest, volume.header_file, as_json=as_json)


def _report(digest_id: int, digest: Pbkdf2Digest, name: str, *, as_json: bool) -> None:
    if as_json:
        output.say_json(
            {
                "digest": digest_id,
                "hash": digest.hash,
                "iterations": digest.iterations,
                "keyslots": list(digest.keyslots),
                "segments": list(digest.segments),
            }
        )
    else:
        keyslots = ", ".join(map(str, digest.keyslots)) or "none"
        output.say(
            f"{name}: digest {digest_id} renewed, pbkdf2-{digest.hash} with {digest.iterations} "
            f"iterations, of keyslots {keyslots}"
        )
