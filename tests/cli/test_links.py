"""`--links`: a number of links, or auto."""

from __future__ import annotations

import pytest

from p2p_copy.cli import saved_transfers
from p2p_copy.cli.options.client import ClientArguments
from p2p_copy.protocol import limits
from tests.cli.processes import run


@pytest.mark.parametrize("value", ["0", "-1", str(limits.MAX_LINKS + 1), "many", ""])
def test_a_wrong_number_of_links_is_refused(value: str) -> None:
    code, _, err = run("send", "--server", "ws://127.0.0.1:1", "--links", value, "file")
    assert code == 2
    assert "--links" in err


@pytest.mark.parametrize(
    ("given", "begun", "meant"), [(None, None, None), (None, 4, 4), (2, 4, 2), (0, 4, None)]
)
def test_the_number_is_the_one_of_now_or_else_the_one_of_the_beginning(
    given: int | None, begun: int | None, meant: int | None
) -> None:
    now = saved_transfers.options_now(ClientArguments(links=given))
    assert now.get("links", begun) == meant
