from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, strategies as st

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import limits
from p2p_copy.protocol.digest import RootDigest
from p2p_copy.protocol.manifest import Item, Manifest
from p2p_copy.protocol.messages import Data, Entry, FileEnd, FileFail, Finish, Kind, Page, Reason
from p2p_copy.units import MIB

DIGEST = b"d" * 32


def manifest(*, portable: bool = True) -> Manifest:
    return Manifest(portable=portable, key=bytes(16))


def directory(depth: int, name: str) -> Entry:
    return Entry(Kind.DIRECTORY, depth, name, 0o755)


def file(depth: int, name: str, size: int = 0) -> Entry:
    return Entry(Kind.FILE, depth, name, 0o644, 0, size)


def link(depth: int, name: str, target: str) -> Entry:
    return Entry(Kind.SYMLINK, depth, name, target=target)


def page(*entries: Entry) -> Page:
    return Page(entries)


def refused(*pages: Page, portable: bool = True) -> str:
    one = manifest(portable=portable)
    for good in pages[:-1]:
        one.page(good)
    with pytest.raises(PeerMisbehaved) as error:
        one.page(pages[-1])
    return str(error.value)


def finish(root: RootDigest, entries: int, files: int, size: int, failures: int = 0) -> Finish:
    return Finish(entries, files, size, failures, root.digest())


def test_a_tree_is_named_in_pre_order() -> None:
    items = manifest().page(
        page(directory(0, "a"), directory(1, "b"), file(2, "c"), file(1, "d"), file(0, "e"))
    )
    assert [item.path for item in items] == ["a", "a/b", "a/b/c", "a/d", "e"]
    assert [item.index for item in items] == [0, 1, 2, 3, 4]


def test_directories_go_on_over_pages() -> None:
    one = manifest()
    one.page(page(directory(0, "a"), directory(1, "b")))
    (item,) = one.page(page(file(2, "c")))
    assert item.path == "a/b/c"


@pytest.mark.parametrize(
    "pages",
    [
        [page(file(1, "orphan"))],
        [page(directory(0, "a"), file(2, "too deep"))],
        [page(file(0, "a"), file(1, "in a file"))],
        [page(directory(0, "a"), link(1, "l", "x"), file(2, "in a link"))],
        [page(file(0, "a")), page(file(0, "a"))],
        [page(directory(0, "a"), file(0, "b"), directory(0, "a"))],
        [page(file(0, "a"), directory(0, "a"))],
        [page(file(0, "README"), file(0, "readme"))],
        [page(file(0, "é"), file(0, "e\u0301"))],
        [page(file(0, "straße"), file(0, "STRASSE"))],
        [page(Entry(Kind.DIRECTORY, 0, "a", size=1))],
        [page(directory(0, "a"), Entry(Kind.SYMLINK, 1, "l", size=1, target="x"))],
        [page(Entry(Kind.FILE, 0, "a", target="x"))],
        [page(link(0, "top", "x"))],
        [page(directory(0, "a"), link(1, "l", "../x"))],
        [page(directory(0, "a"), link(1, "l", "/etc/passwd"))],
        [page(directory(0, "a"), link(1, "l", "b/../../x"))],
        [page(directory(0, "a"), link(1, "l", ""))],
        [page(Entry(Kind.FILE, 0, "a", size=2**63))],
        [page(file(0, "a", 2**62), file(0, "b", 2**62), file(0, "c", 2**62))],
        [page(*(directory(depth, "d") for depth in range(limits.MAX_DEPTH + 1)))],
        [page(*(directory(depth, "n" * 250) for depth in range(20)))],
        [page(file(0, ".p2p-copy-0123456789abcdef.part"))],
    ],
    ids=lambda pages: ",".join(entry.name[:12] for one in pages for entry in one.entries[:3]),
)
def test_bad_structure_is_refused(pages: list[Page]) -> None:
    refused(*pages)


@pytest.mark.fault(56, "file", "directory")
@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "/", "a/b", "/etc", "..\\x", "a\\b", "C:", "a:b", "\x00", "a\nb", "\x1b[31m", "\u202egpj",
        "con", "NUL.txt", "LPT¹", "a.", "a ", "x" * 256, "\u200b", "a|b", "COM1.tar.gz",
    ],
)  # fmt: skip
@pytest.mark.parametrize("depth", [0, 1])
def test_bad_names_are_refused_at_every_depth_as_file_and_directory(name: str, depth: int) -> None:
    top = [directory(0, "top")] if depth else []
    for entry in (file(depth, name), directory(depth, name)):
        sentence = refused(page(*top, entry))
        assert not any(ord(character) < 32 or character == "\u202e" for character in sentence)


def test_one_bad_entry_refuses_its_whole_page() -> None:
    one = manifest()
    with pytest.raises(PeerMisbehaved):
        one.page(page(file(0, "good"), file(0, "..")))


def test_system_names_differ_where_this_system_tells_them_apart() -> None:
    one = manifest(portable=False)
    items = one.page(
        page(file(0, "README"), file(0, "readme"), file(0, "a:b"), file(0, "a\\b"), file(0, "con"))
    )
    assert len(items) == 5


def test_the_same_name_in_two_directories_is_fine() -> None:
    manifest().page(page(directory(0, "a"), file(1, "x"), directory(0, "b"), file(1, "x")))


def test_contents_come_in_order_and_complete() -> None:
    one = manifest()
    (item,) = one.page(page(file(0, "a", 5)))
    assert one.data(Data(0, 0, b"abc")) is item
    assert one.owed == 2
    one.data(Data(0, 3, b"de"))
    assert one.end(FileEnd(0, DIGEST)) is item
    one.done(item)
    root = RootDigest()
    root.add(item.entry, DIGEST)
    assert one.finish(finish(root, 1, 1, 5)) == root.digest()


@pytest.mark.parametrize(
    "message",
    [
        Data(0, 1, b"x"),
        Data(0, 0, b"123456"),
        Data(1, 0, b"x"),
        Data(9, 0, b"x"),
        FileEnd(0, DIGEST),
        FileEnd(2, DIGEST),
    ],
    ids=["gap", "beyond the size", "of a directory", "never named", "too early", "never named"],
)
def test_contents_that_do_not_fit_are_refused(message: Data | FileEnd) -> None:
    one = manifest()
    one.page(page(file(0, "a", 5), directory(0, "b")))
    with pytest.raises(PeerMisbehaved):
        one.data(message) if isinstance(message, Data) else one.end(message)


def test_files_are_not_mixed() -> None:
    one = manifest()
    one.page(page(file(0, "a", 5), file(0, "b", 5)))
    one.data(Data(0, 0, b"x"))
    with pytest.raises(PeerMisbehaved):
        one.data(Data(1, 0, b"x"))


def test_a_file_is_sent_once() -> None:
    one = manifest()
    (item, _) = one.page(page(file(0, "a", 1), file(0, "b")))
    one.data(Data(0, 0, b"x"))
    one.end(FileEnd(0, DIGEST))
    one.done(item)
    with pytest.raises(PeerMisbehaved):
        one.data(Data(0, 0, b"x"))
    with pytest.raises(PeerMisbehaved):
        one.fail(FileFail(0, Reason.CHANGED))


def test_directories_are_complete_when_all_in_them_is_children_first() -> None:
    one = manifest()
    a, b, c = one.page(page(directory(0, "a"), directory(1, "b"), file(2, "c")))
    assert one.complete_directories() == []
    (d,) = one.page(page(file(0, "d")))
    assert one.complete_directories() == []
    one.end(FileEnd(2, DIGEST))
    one.done(c)
    assert one.complete_directories() == [b, a]
    one.fail(FileFail(3, Reason.VANISHED))
    one.done(d)
    assert one.complete_directories() == []


def test_an_empty_directory_is_complete_once_the_manifest_goes_on() -> None:
    one = manifest()
    a, b = one.page(page(directory(0, "a"), directory(0, "b")))
    assert one.complete_directories() == [a]
    root = RootDigest()
    root.add(a.entry, None)
    root.add(b.entry, None)
    one.finish(finish(root, 2, 0, 0))
    assert one.complete_directories() == [b]


def test_refusal_is_inherited() -> None:
    one = manifest()
    (a,) = one.page(page(directory(0, "a")))
    a.refused = True
    (b,) = one.page(page(file(1, "b")))
    assert b.refused


def test_entries_are_settled_in_order_and_not_before_it_is_known_what_becomes_of_them() -> None:
    settled: list[str] = []
    one = Manifest(portable=True, key=bytes(16), settled=lambda item: settled.append(item.published_path))
    a, b, c = one.page(page(directory(0, "a"), file(1, "b"), file(1, "c")))
    assert not settled
    a.name = "a (1)"
    for item in (c, b):
        one.fail(FileFail(item.index, Reason.UNREADABLE))
        one.done(item)
    assert settled == ["a (1)", "a (1)/b", "a (1)/c"]
    one.page(page(directory(0, "d")))
    root = RootDigest()
    for entry in (directory(0, "a"), file(1, "b"), file(1, "c"), directory(0, "d")):
        root.add(entry, None)
    one.finish(finish(root, 4, 0, 0, failures=2))
    assert settled[3:] == ["d"]


@pytest.mark.fault(62, "too many entries")
def test_too_many_names_in_a_directory_and_above_are_refused_and_those_elsewhere_are_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_OPEN_NAMES", 10)
    one = manifest()
    for top in "abcd":
        one.page(page(directory(0, top), *(directory(1, f"d{at}") for at in range(6))))
    with pytest.raises(PeerMisbehaved):
        one.page(page(directory(1, "d6")))  # four at the top, and seven in the last of them


@pytest.mark.fault(62, "memory")
def test_too_many_unfinished_entries_are_refused() -> None:
    one = manifest()
    number = 0
    while number + limits.MAX_PAGE_ENTRIES <= limits.MAX_OPEN_ENTRIES:
        one.page(page(*(file(0, f"f{number + at}") for at in range(limits.MAX_PAGE_ENTRIES))))
        number += limits.MAX_PAGE_ENTRIES
    with pytest.raises(PeerMisbehaved):
        one.page(page(file(0, "one more")))


@pytest.mark.fault(62, "too many entries")
def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ENTRIES", 10)
    one = manifest()
    one.page(page(*(directory(0, f"d{at}") for at in range(10))))
    with pytest.raises(PeerMisbehaved):
        one.page(page(directory(0, "d10")))


@pytest.mark.fault(62, "memory")
def test_a_manifest_that_does_not_end_costs_little_memory() -> None:
    one = manifest()
    tracemalloc.start()
    try:
        for number in range(80):
            one.page(page(*(directory(0, f"{number:0120} {at}") for at in range(limits.MAX_PAGE_ENTRIES))))
            one.complete_directories()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MIB, "their names alone are 2.5 MB"


def ended() -> tuple[Manifest, Item, RootDigest]:
    one = manifest()
    (item,) = one.page(page(file(0, "a", 1)))
    one.data(Data(0, 0, b"x"))
    one.end(FileEnd(0, DIGEST))
    root = RootDigest()
    root.add(item.entry, DIGEST)
    return one, item, root


@pytest.mark.fault(51, "short count")
@pytest.mark.parametrize("wrong", [{"entries": 2}, {"files": 0}, {"size": 2}])
def test_sums_that_differ_are_refused(wrong: dict[str, int]) -> None:
    one, item, root = ended()
    one.done(item)
    with pytest.raises(PeerMisbehaved):
        one.finish(finish(root, **{"entries": 1, "files": 1, "size": 1, **wrong}))


def test_another_root_is_refused() -> None:
    one, item, _ = ended()
    one.done(item)
    with pytest.raises(PeerMisbehaved):
        one.finish(Finish(1, 1, 1, 0, bytes(32)))


def test_finishing_before_the_files_is_refused() -> None:
    one = manifest()
    one.page(page(file(0, "a", 1)))
    with pytest.raises(PeerMisbehaved):
        one.finish(finish(RootDigest(), 1, 0, 0))


def test_fewer_failures_than_were_reported_are_refused() -> None:
    one = manifest()
    (item,) = one.page(page(file(0, "a", 1)))
    one.fail(FileFail(0, Reason.NOT_WANTED))
    one.done(item)
    root = RootDigest()
    root.add(item.entry, None)
    with pytest.raises(PeerMisbehaved):
        one.finish(finish(root, 1, 0, 0, failures=0))


names = st.sampled_from(["a", "b", "c", "d", "e"])
entries = st.builds(
    lambda kind, depth, name, size: Entry(
        kind, depth, name, 0o644, 0, size if kind is Kind.FILE else 0, "x" if kind is Kind.SYMLINK else ""
    ),
    st.sampled_from(Kind),
    st.integers(0, 4),
    names,
    st.integers(0, 3),
)


@given(st.lists(entries, min_size=1, max_size=30))
def test_any_sequence_is_refused_or_a_tree_without_doubles(sequence: list[Entry]) -> None:
    one = manifest()
    taken: list[Item] = []
    for entry in sequence:
        try:
            taken += one.page(page(entry))
        except PeerMisbehaved:
            return
    assert len({item.path for item in taken}) == len(taken)
    for item in taken:
        assert item.path.count("/") == item.entry.depth
        if item.parent is not None:
            assert item.parent.entry.kind is Kind.DIRECTORY
