"""A crash at any moment of any command leaves a way into the volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import click
import pytest

from luksmeta.cli.root import root
from luksmeta.format_options import Version
from luksmeta.write_plan import Barrier, Copy, Fill, Write, WritePlan
from tests.builders import THIRD, VERSIONS
from tests.crash import recipes
from tests.crash.judge import Judge
from tests.crash.recipe import Recipe, add, after
from tests.crash.reordered import states
from tests.crash.storages import PlannedStorage

EVERY = (*recipes.recipes(), *recipes.recipes_on_damaged_headers())
every_recipe = pytest.mark.parametrize("recipe", EVERY, ids=str)


@cache
def plans_of(recipe: Recipe) -> tuple[WritePlan, ...]:
    """What the command writes; writing anything else fails here."""
    storage = PlannedStorage(recipe.image)
    with storage.watched():
        recipe.act(storage)
    return tuple(storage.plans)


def closed_places(recipe: Recipe, plans: tuple[WritePlan, ...], judge: Judge) -> dict[str, str]:
    """The writes during which a crash can leave no way in, each with one such state."""
    closed: dict[str, str] = {}
    for state in states(recipe.image, plans, coarse=recipe.may_close):
        answer = judge.open(state.disk)
        if answer.passphrase is None:
            closed.setdefault(state.place, f"{state}: {answer.why}")
        else:
            assert answer.volume_key == recipe.key_of(answer.passphrase), str(state)
    return closed


@every_recipe
def test_a_crash_at_any_moment_leaves_a_way_in(
    recipe: Recipe, record_property: Callable[[str, object], None]
) -> None:
    judge = Judge(recipe.passphrases)
    closed = closed_places(recipe, plans_of(recipe), judge)
    record_property("states", judge.asked)
    assert [why for place, why in closed.items() if not place.startswith(recipe.may_close)] == []
    for place in recipe.may_close:  # no more is admitted than is so
        assert any(each.startswith(place) for each in closed), place


@pytest.mark.parametrize("version", VERSIONS)
def test_while_a_keyslot_is_changed_its_old_or_new_passphrase_opens(
    version: Version,
) -> None:
    """Not only one of another keyslot."""
    opening = _opening(recipes.recipe(f"{version} change-key with room"))
    assert set(opening.values()) == {"old", "new"}
    assert opening["before, untouched"] == "old"
    assert list(opening.values())[-1] == "new"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_change_without_room_has_a_moment_when_neither_opens(version: Version) -> None:
    recipe = recipes.recipe(f"{version} change-key without room")
    changed = replace(recipe, before=recipe.before[1:2], after=recipe.after[-1:])
    places = {
        state.partition(", ")[0] for state, which in _opening(changed).items() if which == "neither"
    }
    whole = {"luks1": set(), "luks2": {"primary header"}}[version]  # one sector is never torn
    assert places == {f"store keyslot 1: {each}" for each in {"keyslot 1 area"} | whole}


def test_a_torn_luks1_header_can_lose_keyslot_6_which_lies_across_two_sectors() -> None:
    recipe = recipes.recipe("luks1 change-key of keyslot 6 without room")
    changed = replace(recipe, before=recipe.before[6:7], after=recipe.after[-1:])
    opening = _opening(changed)
    assert opening["store keyslot 6: partition header, torn at 512"] == "neither"
    assert opening["store keyslot 6: partition header, torn at 512, its end first"] == "neither"


def _opening(recipe: Recipe) -> dict[str, str]:
    """For each state, which of the old and the new passphrase opens."""
    judge = Judge((*recipe.before, *recipe.after))
    which = {None: "neither", recipe.before[0]: "old", recipe.after[0]: "new"}
    plans = plans_of(recipe)
    places = tuple(f"{plan.what}: keyslot" for plan in plans)
    return {
        str(state): which[judge.open(state.disk).passphrase]
        for state in states(recipe.image, plans, coarse=places)
    }


@every_recipe
def test_a_command_ends_with_the_passphrases_that_it_should(recipe: Recipe) -> None:
    afterwards = after(recipe.image, recipe.act)
    for disk, opening in ((recipe.image, recipe.before), (afterwards, recipe.after)):
        for passphrase in recipe.passphrases:
            answer = Judge((passphrase,)).open(disk)
            assert (answer.passphrase is not None) == (passphrase in opening), passphrase
            assert answer.volume_key in (None, recipe.key_of(passphrase))


@every_recipe
def test_every_plan_ends_on_stable_storage(recipe: Recipe) -> None:
    for plan in plans_of(recipe):
        assert isinstance(plan.steps[-1], Barrier), plan.what


@pytest.mark.parametrize(
    "name", ["luks1 change-key with room", "luks2 change-key with room", "luks2 config priority"]
)
def test_without_barriers_a_crash_could_close_the_volume(name: str) -> None:
    """The proof can fail: what every command relies on is missing here."""
    recipe = recipes.recipe(name)
    at_once = WritePlan.of("all at once", _last_at_each_place(plans_of(recipe)))
    judge = Judge(recipe.passphrases)
    disks = states(recipe.image, (at_once,), coarse=("all at once",))
    assert any(judge.open(state.disk).passphrase is None for state in disks)


def test_every_command_that_can_be_run_dry_has_a_recipe() -> None:
    dry = {
        name
        for name, command in _commands(root, "")
        if any("--dry-run" in parameter.opts for parameter in command.params)
    }
    known = {recipe.command for recipe in recipes.recipes()}
    assert dry == known | {*recipes.UNTOUCHED, *recipes.MAPPINGS, *recipes.DATA_ONLY}


def _commands(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, f"{prefix}{name} ")
        elif command is not None:
            yield f"{prefix}{name}", command


def test_a_second_crash_after_the_first_leaves_a_way_in_as_well() -> None:
    """Of each kind of disk that a crash left, the next command's crash leaves a way in."""
    for version in VERSIONS:
        first = recipes.recipe(f"{version} change-key with room")
        judge = Judge(first.passphrases)
        left: dict[object, bytes] = {}
        for state in states(first.image, plans_of(first)):
            left.setdefault((state.place, judge.open(state.disk)), bytes(state.disk))
        for disk in left.values():
            second = replace(
                recipes.recipe(f"{version} add-key at the first free place"),
                image=disk,
                act=add(THIRD),
                before=first.passphrases,
                after=(THIRD,),
            )
            assert closed_places(second, plans_of(second), Judge(second.passphrases)) == {}


def _last_at_each_place(plans: tuple[WritePlan, ...]) -> list[Write | Fill | Copy]:
    """The writes that no later one overwrites: the disk may see these alone."""
    steps = [step for plan in plans for step in plan.steps]
    writes = [step for step in steps if isinstance(step, Write | Fill | Copy)]
    return [
        each
        for number, each in enumerate(writes)
        if not any(each.extent.overlaps(later.extent) for later in writes[number + 1 :])
    ]
