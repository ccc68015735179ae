"""Random trees: what a sender has, what lies at the receiver already, and what both sides' users ask for.

All is drawn from one `random.Random`, so a seed is a case, and Hypothesis can draw as well.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from p2p_copy.files import limits as files_limits
from p2p_copy.options import Conflict, Symlinks
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.transfer import limits as transfer_limits

if TYPE_CHECKING:
    from pathlib import Path

DAY: Final = 86_400 * 10**9


class Kind(Enum):
    """What lies under a name."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "link"
    PIPE = "pipe"


@dataclass(frozen=True)
class Node:
    """One entry of a tree.

    Attributes:
        seed: of a file's contents.
        hole: a file's middle is a hole.
        target: of a symbolic link.
        twin: path of the file of which this is another name.
        xattrs: extended attributes, names and values.

    """

    kind: Kind
    mode: int = 0o644
    mtime_ns: int = 0
    size: int = 0
    seed: int = 0
    hole: bool = False
    target: str = ""
    twin: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()

    @property
    def compressible(self) -> bool:
        """Whether its contents can be compressed; those of every fourth file cannot."""
        return bool(self.seed % 4)

    def contents(self) -> bytes:
        """Return a file's bytes."""
        length = 8192 if self.compressible else 2**20 + 7  # longer than the window of the compression
        block = random.Random(self.seed).randbytes(min(self.size, length))
        data = (block * (self.size // len(block) + 1))[: self.size] if block else b""
        if not self.hole:
            return data
        first, last = self.hole_at()
        return data[:first] + bytes(last - first) + data[last:]

    def hole_at(self) -> tuple[int, int]:
        """Return where the hole begins and ends."""
        return 4096, max(4096, self.size - 4097)


Tree = dict[str, Node]
"""Entries by path, each directory before what lies in it."""

PLAIN: Final = ("a", "b", "c", "data", "x.txt", "y.txt", "z.tar.gz", "Makefile", "sub", "tree", "deep")
ODD: Final = (
    "-rf", " blank", "a b", "ünïcödé", "日本語", "quote'd", "$HOME", "#x", "!keep", "~", ".hidden", "a;b", "&",
    "no.ending",
)  # fmt: skip
NOT_PORTABLE: Final = ("what?", "a:b", "star*", "dot.", "end ", "CON", "back\\slash", "aux.txt")
NEVER: Final = ("new\nline", ".p2p-copy-x", "\u202etxt", "esc\x1b[2J")
LIKE_NUMBERED: Final = (" (1)", " (2)")


@dataclass(frozen=True)
class Wishes:
    """How large, and how wild, a tree may be.

    Attributes:
        sizes: what the sizes of files are drawn from, by weight.
        entries: the most entries.
        kinds: weights of files, directories, symbolic links, further names and pipes.
        unsendable: names that no portable, or no receiver at all, takes may be among them.
        xattrs: some have extended attributes, which may be asked for.

    """

    sizes: tuple[tuple[int, int], ...]
    entries: int = 12
    kinds: tuple[int, ...] = (60, 20, 10, 6, 1)
    unsendable: bool = True
    xattrs: bool = False


def thresholds(*, most: int) -> tuple[tuple[int, int], ...]:
    """Return sizes around each number that something depends on, each with its weight."""
    edges = (
        transfer_limits.CHUNK,
        transfer_limits.RECORD_TARGET,
        protocol_limits.SEGMENT,
        files_limits.FSYNC_FROM,
        protocol_limits.MAX_RECORD_CONTENT,
    )
    near = [edge + by for edge in edges for by in (-1, 0, 1)]
    near += [
        transfer_limits.LEAST_CHUNK,
        2 * protocol_limits.SEGMENT,
        2 * transfer_limits.CHUNK,
        transfer_limits.CHUNK + protocol_limits.SEGMENT,
    ]
    few = [0, 0, 1, 2, 100, 1000, 5000]
    return tuple([(size, 4) for size in few] + [(size, 1) for size in near if size <= most])


def random_tree(rng: random.Random, wishes: Wishes) -> Tree:
    """Return a tree; what lies at its top is a file or a directory."""
    tree: Tree = {}
    directories = [""]
    for _ in range(rng.randint(1, wishes.entries)):
        above = rng.choice(directories)
        name = _name(rng, wishes)
        path = f"{above}/{name}" if above else name
        if any(_same_name(path, other) for other in tree):
            continue
        node = _node(rng, wishes, tree, path)
        tree[path] = node
        if node.kind is Kind.DIRECTORY and path.count("/") < 4:
            directories.append(path)
    if not any(usable(path) for path in tree if "/" not in path):
        tree["plain"] = Node(Kind.FILE, size=1, mtime_ns=DAY)
    return tree


def usable(path: str) -> bool:
    """Return whether every receiver takes these names."""
    return not set(path.split("/")) & {*NOT_PORTABLE, *NEVER}


def _same_name(one: str, other: str) -> bool:
    """Return whether some system takes two paths for one."""
    return one.casefold() == other.casefold()


def _name(rng: random.Random, wishes: Wishes) -> str:
    if wishes.unsendable and rng.random() < 0.06:
        return rng.choice(NOT_PORTABLE + NEVER)
    return rng.choice(ODD if rng.random() < 0.25 else PLAIN)


def _node(rng: random.Random, wishes: Wishes, tree: Tree, path: str) -> Node:
    kinds = ("file", "directory", "link", "twin", "pipe")
    kind = rng.choices(kinds, wishes.kinds)[0]
    mtime_ns = rng.randrange(10**9, 2 * 10**9) * 10**9 + rng.randrange(10**9)
    inside = "/" in path
    if kind == "directory":
        mode = rng.choice((0o755, 0o700, 0o711, 0o750))
        return Node(Kind.DIRECTORY, mode, mtime_ns, xattrs=_xattrs(rng, wishes))
    if kind == "link" and inside:
        return Node(Kind.SYMLINK, 0o777, mtime_ns, target=_target(rng, wishes))
    if kind == "pipe" and inside and wishes.unsendable:
        return Node(Kind.PIPE, 0o644, mtime_ns)
    files = [(name, node) for name, node in tree.items() if node.kind is Kind.FILE and not node.twin]
    if kind == "twin" and files:
        name, node = rng.choice(files)
        return replace(node, twin=name)
    (size,) = rng.choices([size for size, _ in wishes.sizes], [weight for _, weight in wishes.sizes])
    hole = size > transfer_limits.CHUNK and rng.random() < 0.2
    mode = rng.choice((0o644, 0o600, 0o755, 0o444, 0o640))
    return Node(Kind.FILE, mode, mtime_ns, size, rng.randrange(2**32), hole, xattrs=_xattrs(rng, wishes))


def _xattrs(rng: random.Random, wishes: Wishes) -> tuple[tuple[str, bytes], ...]:
    if not wishes.xattrs or rng.random() < 0.7:
        return ()
    values = (b"", b"words", bytes(range(256)))
    return tuple((f"user.{name}", rng.choice(values)) for name in rng.sample(("a", "b.c", "ünï"), 2))


def _target(rng: random.Random, wishes: Wishes) -> str:
    inside = ("a", "sub/x.txt", "nothing there", ".")
    outside = ("../b", "../../c", "/etc/passwd", "../../../../../../x", "a/../b")
    return rng.choice(inside + outside if wishes.unsendable else inside)


# What is there already


def random_existing(rng: random.Random, source: Tree, wishes: Wishes) -> Tree:
    """Return what lies in the output directory: under the sender's names, and beside them."""
    if rng.random() < 0.35:
        return {}
    there: Tree = {}
    share = rng.choice((0.1, 0.4, 0.8))
    for path, node in source.items():
        above = path.rpartition("/")[0]
        if not usable(path) or (above and there.get(above, _NOTHING).kind is not Kind.DIRECTORY):
            continue
        if rng.random() < share:
            there[path] = _in_the_way(rng, node, wishes)
        if rng.random() < 0.15:
            name, ending = os.path.splitext(path)
            ending = ending if node.kind is not Kind.DIRECTORY else ""
            name = name if node.kind is not Kind.DIRECTORY else path
            there[f"{name}{rng.choice(LIKE_NUMBERED)}{ending}"] = _in_the_way(rng, node, wishes)
    if rng.random() < 0.5:
        there["somebody else's"] = Node(Kind.FILE, 0o640, DAY, 77, 5)
    return there


_NOTHING: Final = Node(Kind.PIPE)


def _in_the_way(rng: random.Random, node: Node, wishes: Wishes) -> Node:
    if node.kind is not Kind.PIPE and rng.random() < 0.3:  # the same, as an earlier transfer has left it
        same = replace(node, twin="", xattrs=(), mode=0o604 if node.kind is Kind.FILE else node.mode)
        if node.kind is not Kind.FILE or rng.random() < 0.4:
            return same
        # Newer, and perhaps longer, shorter or with other contents: some segments may still be the same.
        size = rng.choice((node.size, node.size // 2, node.size + 1000))
        return replace(same, mtime_ns=DAY, size=size, seed=node.seed + (rng.random() < 0.2))
    kind = node.kind if rng.random() < 0.8 else rng.choice((Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK))
    if kind is Kind.DIRECTORY:
        return Node(kind, rng.choice((0o755, 0o700)), DAY)
    if kind is Kind.SYMLINK:
        return Node(kind, 0o777, DAY, target=rng.choice(("mine", "..", "/nowhere")))
    return Node(Kind.FILE, 0o604, DAY, rng.choice((0, 1, 3000)), rng.randrange(2**32))


# What is asked for


@dataclass(frozen=True)
class Asked:
    """The options of both sides that decide what arrives."""

    conflict: Conflict = Conflict.REFUSE
    checksum: bool = False
    links: Symlinks = Symlinks.KEEP
    portable: bool = True
    hard_links: bool = False
    xattrs: bool = False
    sender_exclude: tuple[str, ...] = ()
    sender_only: tuple[str, ...] = ()
    receiver_exclude: tuple[str, ...] = ()
    receiver_only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One transfer that may happen."""

    source: Tree
    existing: Tree = field(default_factory=dict)
    asked: Asked = field(default_factory=Asked)

    @property
    def tops(self) -> list[str]:
        """What the sender names."""
        return [path for path in self.source if "/" not in path]


def random_case(rng: random.Random, wishes: Wishes) -> Case:
    """Return one."""
    receivers = rng.random() < 0.25
    if receivers:  # a receiver's patterns say nothing of what cannot be sent
        wishes = replace(wishes, unsendable=False)
    source = random_tree(rng, wishes)
    conflict = rng.choice([each for each in Conflict if each is not Conflict.ASK])
    asked = Asked(
        conflict,
        conflict is Conflict.UPDATE and rng.random() < 0.5,
        Symlinks.SKIP if rng.random() < 0.1 else Symlinks.KEEP,
        rng.random() < 0.8,
        rng.random() < 0.4,
        wishes.xattrs and rng.random() < 0.4,
        _patterns(rng, source) if rng.random() < 0.2 else (),
        _patterns(rng, source) if rng.random() < 0.15 else (),
        _patterns(rng, source) if receivers and rng.random() < 0.7 else (),
        _patterns(rng, source) if receivers and rng.random() < 0.5 else (),
    )
    return Case(source, random_existing(rng, source, wishes), asked)


def _patterns(rng: random.Random, source: Tree) -> tuple[str, ...]:
    """Return patterns of the four simplest forms: see `tree_oracle`."""
    paths = [path for path in source if all(part in PLAIN for part in path.split("/"))]
    some = ["*.txt", "a", "sub/", "data"]
    for path in paths:
        some += [f"/{path}", path.rpartition("/")[2]]
    return tuple(rng.sample(sorted(set(some)), rng.randint(1, 2)))


# What changes meanwhile


def changed(rng: random.Random, case: Case, wishes: Wishes) -> tuple[Case, set[str]]:
    """Return a case whose source has changed in directories that the transfer makes, and the paths that have.

    Who was killed may not know any more whose a file is in a directory that was there before.
    """
    source, twins = dict(case.source), {node.twin for node in case.source.values()}
    paths: set[str] = set()
    for path, node in case.source.items():
        top = path.partition("/")[0]
        mine = top != path and top not in case.existing and not node.twin and path not in twins
        if not mine or node.kind not in {Kind.FILE, Kind.SYMLINK} or not usable(path) or rng.random() < 0.5:
            continue
        paths.add(path)
        del source[path]
        mtime_ns = node.mtime_ns + rng.randrange(1, DAY)
        kind = rng.choice((node.kind, node.kind, Kind.FILE, Kind.SYMLINK, Kind.DIRECTORY, None))
        if kind is Kind.SYMLINK:
            source[path] = Node(kind, 0o777, mtime_ns, target="another")
        elif kind is Kind.DIRECTORY:
            source[path] = Node(kind, 0o755, mtime_ns)
        elif kind is Kind.FILE:
            (size,) = rng.choices([size for size, _ in wishes.sizes], [weight for _, weight in wishes.sizes])
            source[path] = Node(kind, 0o640, mtime_ns, size, rng.randrange(2**32))
    ordered = sorted(source, key=lambda path: (path.count("/"), list(case.source).index(path)))
    return replace(case, source={path: source[path] for path in ordered}), paths


def grow_again(root: Path, case: Case, paths: set[str]) -> None:
    """Change the tree below a directory to what it is now at these paths."""
    for path in paths:
        (root / path).unlink()
    grow(root, {path: node for path, node in case.source.items() if path in paths})
    for path, node in case.source.items():
        if node.kind is Kind.DIRECTORY:
            os.utime(root / path, ns=(node.mtime_ns, node.mtime_ns))


# On the disk


def grow(root: Path, tree: Tree) -> None:
    """Make a tree below a directory."""
    root.mkdir(parents=True, exist_ok=True)
    for path, node in tree.items():
        where = root / path
        if node.twin:
            os.link(root / node.twin, where)
        elif node.kind is Kind.DIRECTORY:
            where.mkdir()
        elif node.kind is Kind.SYMLINK:
            where.symlink_to(node.target)
        elif node.kind is Kind.PIPE:
            os.mkfifo(where)
        else:
            _write(where, node)
    for path, node in reversed(tree.items()):
        for name, value in node.xattrs:
            os.setxattr(root / path, name, value)
        if node.kind is not Kind.SYMLINK:
            os.chmod(root / path, node.mode)
        os.utime(root / path, ns=(node.mtime_ns, node.mtime_ns), follow_symlinks=False)


def _write(where: Path, node: Node) -> None:
    data = node.contents()
    with open(where, "wb") as file:
        if not node.hole:
            file.write(data)
            return
        first, last = node.hole_at()
        file.write(data[:first])
        file.seek(last)
        file.write(data[last:])
        file.truncate(node.size)
