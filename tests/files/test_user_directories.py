"""Which directories of a user are used, and whose."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import pytest

from p2p_copy.files.state.store import default_directory
from p2p_copy.files.user_directories import belongs_to_other_user, home_directory

if TYPE_CHECKING:
    from pathlib import Path

SOMEBODY = 54321
ONLY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")


@ONLY_ROOT
@pytest.mark.parametrize("variable", ["HOME", "XDG_STATE_HOME"])
def test_the_home_directory_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    assert belongs_to_other_user(str(tmp_path))
    assert home_directory() == (pwd.getpwuid(0).pw_dir if variable == "HOME" else os.environ["HOME"])
    assert default_directory() == os.path.join(home_directory(), ".local", "state", "p2p-copy")


def test_this_users_home_directory_or_a_missing_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (tmp_path, tmp_path / "none"):
        monkeypatch.setenv("HOME", str(place))
        assert home_directory() == str(place)
    assert not belongs_to_other_user("/")
