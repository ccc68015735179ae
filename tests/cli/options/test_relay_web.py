from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from p2p_copy.cli.options import relay_web
from p2p_copy.cli.options.relay_web import RelayWeb
from p2p_copy.errors import UsageError
from tests.cli.processes import run
from tests.support.page import make_page

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the page in an installation of this test's own, where nothing is yet."""
    (tmp_path / "web").mkdir()
    monkeypatch.setattr(relay_web, "BUILT", tmp_path / "web" / "built")
    return tmp_path / "web" / "built"


def test_the_page_of_the_installation_is_served_if_that_is_asked_for(built: Path) -> None:
    make_page(built)
    assert RelayWeb(web=True).folder() == built
    assert RelayWeb().folder() is None


def test_a_package_without_the_page_says_how_to_get_one_with_it(built: Path) -> None:
    with pytest.raises(UsageError, match=r"this installation has none\. The package was built without npm"):
        RelayWeb(web=True).folder()
    assert RelayWeb().folder() is None, "everything else works"


def test_a_clone_says_how_the_page_is_built(built: Path) -> None:
    (built.parent / "package.json").write_text("{}")
    with pytest.raises(UsageError, match=r"npm --prefix .*web ci && npm --prefix .*web run build"):
        RelayWeb(web=True).folder()


def test_what_is_no_origin_ends_the_start() -> None:
    code, out, err = run("run-relay-server", "127.0.0.1:0", "--no-tls", "--web-origin", "files.example")
    assert (code, out) == (2, "")
    assert "'files.example' is no origin of a web page." in err
