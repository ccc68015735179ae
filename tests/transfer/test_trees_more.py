"""Random trees, sent into directories that are not empty: the result is what the documentation says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from p2p_copy.protocol import limits
from tests.support.memory_transfer import MemoryTransfer
from tests.support.random_trees import Wishes, changed, grow, grow_again, random_case, thresholds
from tests.support.tree_oracle import differences, expect

if TYPE_CHECKING:
    import random


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEGMENT", 300_000)


@settings(
    max_examples=400,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(rng=st.randoms(use_true_random=True), losses=st.sampled_from((0, 0, 1, 2)))
def test_what_arrives_is_what_the_documentation_says(rng: random.Random, losses: int) -> None:
    """With any content, any options, any sizes, any number of lost links or killed receivers, and any change at the
    sender meanwhile."""
    wishes = Wishes(thresholds(most=700_000))
    case, changes = random_case(rng, wishes), set[str]()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        grow(root / "source", case.source)
        grow(root / "out", case.existing)
        (root / "memory").mkdir()

        def meanwhile() -> None:
            nonlocal case, changes
            if not changes:
                case, changes = changed(rng, case, wishes)
                grow_again(root / "source", case, changes)

        paths = [root / "source" / top for top in case.tops]
        said = MemoryTransfer(rng, paths, root / "out", case.asked, root / "memory").run(losses, meanwhile)
        expected = expect(case)
        assert differences(root / "out", case, expected, changes) == []
        assert (said.files, said.size, said.skipped) == (expected.files, expected.size, expected.skipped)
        assert expected.failures <= said.failures <= expected.failures + expected.more
        assert (said.sender_failures, said.sender_skipped) == (said.failures, said.skipped)
