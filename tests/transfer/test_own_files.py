"""Files of p2p-copy itself are not sent, and no directory is copied into itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files.source.digest_cache import DigestCache
from p2p_copy.files.source.entry import SourceTrees
from p2p_copy.files.source.internal_files import InternalFiles
from p2p_copy.files.source.walk import UNFINISHED, walk
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.journal import Journal
from p2p_copy.files.state.store import State, States, known_directories
from p2p_copy.files.temporary import temporary_name
from p2p_copy.options import Conflict, Symlinks
from p2p_copy.protocol.messages import Accept, Omitted, Reason
from p2p_copy.protocol.names import is_unfinished
from p2p_copy.transfer.reasons import SENTENCES
from p2p_copy.transfer.tree.producer import TreeProducer
from tests.support.keys import both_sessions
from tests.support.transfers import copy
from tests.support.trees import leftovers

if TYPE_CHECKING:
    from pathlib import Path

ID, OTHER = "0" * 32, "f" * 32
FACTS = Facts(tickets=(bytes(32),))

UNASKED = [each for each in Conflict if each is not Conflict.ASK]


def below(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "home" / "documents").mkdir(parents=True)
    (tmp_path / "home" / "documents" / "a").write_text("a")
    return tmp_path / "home"


# States


@pytest.mark.parametrize(
    "seen_through", ["its path", "a link that is followed", "the variable", "the usual place"]
)
async def test_states_are_never_sent(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen_through: str
) -> None:
    place = tree / ".local" / "state" / "p2p-copy"
    States(str(place)).create(OTHER, FACTS).close()
    (place / "notes").write_text("the user's own")
    sending: dict[str, Any] = {"symlinks": Symlinks.COPY}
    match seen_through:
        case "its path":
            sending["state"] = States(str(place)).create(ID, Facts())
        case "a link that is followed":
            (tree / "link").symlink_to(place)
            monkeypatch.setenv("P2P_COPY_STATE_DIR", str(tree / "link"))
        case "the variable":
            monkeypatch.setenv("P2P_COPY_STATE_DIR", str(place))
        case "the usual place":
            monkeypatch.setenv("XDG_STATE_HOME", str(tree / ".local" / "state"))
    both = await copy([tree], tmp_path / "out", sending=sending)
    assert both.reports[0].failures == 0
    assert both.sender.notices == []
    found = below(tmp_path / "out" / "home")
    assert "documents/a" in found
    assert ".local/state/p2p-copy/notes" in found
    assert not [path for path in found if OTHER in path or ID in path]


def test_a_state_that_is_named_is_refused(tmp_path: Path) -> None:
    state: State
    with States(str(tmp_path / "states")).create(ID, FACTS) as state:
        own = InternalFiles(known_directories(state))
        named = [str(tmp_path / "states" / f"{ID}.json")]
        (found,) = walk(SourceTrees(named), own)
    assert found == Omitted(f"{ID}.json", Reason.OWN)


def test_only_where_states_lie_files_with_such_names_are_left_out(tree: Path) -> None:
    (tree / f"{ID}.json").write_text("a picture's description")
    own = InternalFiles((str(tree / "documents"), str(tree / "nowhere")))
    paths = [str(tree)]
    assert len(list(walk(SourceTrees(paths), own))) == 4


# Unfinished files


async def test_unfinished_files_are_left_out_and_told_in_one_line(tree: Path, tmp_path: Path) -> None:
    for tag in ("", "", "01234567"):
        (tree / "documents" / temporary_name(tag)).touch()
    (tree / "documents" / ".p2p-copy-notes").touch()
    both = await copy([tree], tmp_path / "out")
    assert both.sender.notices == ["Left out: 3 unfinished files of p2p-copy itself (.p2p-copy-*)."]
    assert list(both.sender.problems.values()) == [SENTENCES[Reason.NAME]]  # of the user's own
    assert below(tmp_path / "out" / "home") == ["documents", "documents/a"]


def test_our_temporary_names_are_known(tmp_path: Path) -> None:
    assert is_unfinished(temporary_name())
    assert is_unfinished(temporary_name("01234567"))
    (tmp_path / temporary_name()).touch()
    (_, unfinished) = walk(SourceTrees([str(tmp_path)]))
    assert unfinished is UNFINISHED


# Copies into itself


@pytest.mark.parametrize("conflict", UNASKED)
async def test_a_directory_is_not_copied_into_itself(tree: Path, conflict: Conflict) -> None:
    before = below(tree)
    both = await copy([tree], tree, receiving={"conflict": conflict})
    assert both.sender.problems == both.receiver.problems == {"home": SENTENCES[Reason.ITSELF]}
    assert both.reports[0].failures == both.reports[1].failures == 1
    assert below(tree) == before


@pytest.mark.parametrize("conflict", UNASKED)
async def test_a_directory_is_not_copied_onto_itself(tree: Path, conflict: Conflict) -> None:
    before = below(tree)
    both = await copy([tree], tree.parent, receiving={"conflict": conflict})
    assert both.sender.problems == {"home": SENTENCES[Reason.ITSELF]}
    assert below(tree) == before
    assert not leftovers(tree.parent)


@pytest.mark.parametrize("through", ["a path", "a link that is followed"])
async def test_an_output_directory_in_the_tree_is_left_out_and_all_else_arrives(
    tree: Path, through: str
) -> None:
    out = tree / "backup"
    (out / "older").mkdir(parents=True)
    (out / "older" / "b").touch()
    if through == "a link that is followed":
        out.rename(tree.parent / "backup")
        out.symlink_to("../backup")
    both = await copy([tree], out, sending={"symlinks": Symlinks.COPY})
    assert both.sender.problems == both.receiver.problems == {"home/backup": SENTENCES[Reason.ITSELF]}
    assert below(out) == ["home", "home/documents", "home/documents/a", "older", "older/b"]


async def test_an_output_directory_that_the_sender_leaves_out_is_no_failure(tree: Path) -> None:
    both = await copy([tree], tree / "backup", sending={"exclude": ["/home/backup"]})
    assert both.reports[0].failures == 0
    assert below(tree / "backup") == ["home", "home/documents", "home/documents/a"]


async def test_files_may_be_received_where_they_lie(tree: Path) -> None:
    file = tree / "documents" / "a"
    both = await copy([file], file.parent, receiving={"conflict": Conflict.RENAME})
    assert both.reports[0].failures == 0
    assert sorted(os.listdir(file.parent)) == ["a", "a (1)"]


@pytest.mark.parametrize(
    "marker", [".bashrc", "..", "a/.p2p-copy-0123456789abcdef", ".p2p-copy-", ".p2p-copy-key"]
)
def test_a_receiver_cannot_mark_what_is_not_its_own(marker: str) -> None:
    sender, _ = both_sessions()
    accept = Accept("x", portable_names=True, marker=marker)
    with pytest.raises(PeerMisbehaved):
        TreeProducer(SourceTrees(["x"]), sender, accept, DigestCache(Journal(None)))


async def test_nothing_of_ours_is_in_the_output_directory_when_a_receiver_notes_that_all_is_here(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be killed at that moment, and then the next process knows that nothing is left to do."""
    seen: list[list[str]] = []
    save = State.save

    def look(self: State) -> None:
        if self.facts.over is not None:
            seen.append(leftovers(tmp_path / "out"))
        save(self)

    monkeypatch.setattr(State, "save", look)
    state = States(str(tmp_path / "states")).create(ID, Facts())
    both = await copy([tree], tmp_path / "out", receiving={"state": state})
    assert both.reports
    assert seen == [[]]
