"""Which entries a receiver takes is decided without touching a file."""

from __future__ import annotations

import pytest

from p2p_copy.errors import TooMuch
from p2p_copy.files.selection import Selection
from p2p_copy.protocol.manifest import Item, Manifest
from p2p_copy.protocol.messages import Entry, Kind, Omitted, Page, Reason
from p2p_copy.transfer.tree.page_planner import Decision, PagePlanner


def directory(depth: int, name: str) -> Entry:
    return Entry(Kind.DIRECTORY, depth, name)


def file(depth: int, name: str) -> Entry:
    return Entry(Kind.FILE, depth, name, size=1)


TREE = (
    directory(0, "d"),
    directory(1, "e"),
    file(2, "x.c"),
    file(2, "y.py"),
    directory(0, "f"),
    file(1, "z.c"),
)


def planner(
    *entries: Entry, only: str | None = None, max_files: int | None = None
) -> tuple[PagePlanner, list[Item], Manifest]:
    manifest = Manifest(portable=True, key=bytes(16))
    items = manifest.page(Page(entries))
    return PagePlanner(manifest, Selection((only,) if only else (), ()), max_files), items, manifest


def test_without_patterns_everything_is_taken_in_order() -> None:
    plan, items, _ = planner(*TREE)
    assert list(plan.plan(items)) == [(item, Decision.TAKE) for item in items]


def test_a_directory_is_taken_with_the_first_entry_in_it_that_is() -> None:
    plan, items, manifest = planner(*TREE, only="*.py")
    decided = [(item.path, decision) for item, decision in plan.plan(items)]
    assert decided == [
        ("d/e/x.c", Decision.EXCLUDE),
        ("d", Decision.TAKE),
        ("d/e", Decision.TAKE),
        ("d/e/y.py", Decision.TAKE),
        ("f/z.c", Decision.EXCLUDE),
    ]
    assert [item.path for item in items if item.deferred] == ["f"]
    assert (manifest.declared, manifest.owed) == (1, 1)


@pytest.mark.parametrize("only", [None, "*.c"])
def test_nothing_is_taken_in_a_directory_that_could_not_be_made(only: str | None) -> None:
    plan, items, manifest = planner(*TREE, only=only)
    taken = []
    for item, decision in plan.plan(items):
        if decision is Decision.TAKE:
            taken.append(item.path)
        item.refused = item.refused or item.path == "d"
    assert taken == ["d", "f", "f/z.c"]
    assert manifest.owed == 1


def test_what_is_wanted_is_counted_and_what_is_omitted_as_well() -> None:
    plan, items, _ = planner(*TREE, only="*.py", max_files=4)
    assert sum(decision is Decision.TAKE for _, decision in plan.plan(items)) == 3
    assert not plan.wants_omitted(Omitted("d/gone.c", Reason.VANISHED))
    assert plan.wants_omitted(Omitted("d/gone.py", Reason.VANISHED))
    with pytest.raises(TooMuch):
        plan.wants_omitted(Omitted("d/more.py", Reason.VANISHED))
    assert plan.omitted == 3
