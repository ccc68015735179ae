"""A name is sent without contents only if it leads to the file whose contents were sent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from p2p_copy.files.source.entry import SourceEntry, SourceTrees
from p2p_copy.files.source.hardlinks import FirstNames
from p2p_copy.files.source.walk import walk

if TYPE_CHECKING:
    from pathlib import Path


def test_a_name_that_leads_to_another_file_by_now_comes_with_its_contents(tmp_path: Path) -> None:
    """Device and inode are not enough: here, as on FUSE, another file has got them meanwhile."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_text("one")
    (tree / "b").hardlink_to(tree / "a")
    names = FirstNames()
    found = [each for each in walk(SourceTrees([str(tree)])) if isinstance(each, SourceEntry)]
    for number, each in enumerate(found):
        each.index = number
        names.add(each)
    _, first, second = found
    names.record_sent(first, bytes(32))
    assert names.digest_sent(second) == bytes(32)
    status = os.stat(second.path)
    os.unlink(second.path)
    with open(second.path, "w") as file:
        file.write("two")
    os.utime(second.path, ns=(0, status.st_mtime_ns))
    assert names.digest_sent(second) is None
