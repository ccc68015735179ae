"""The examples of docs/api.md do what the page says."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import p2p_copy as p2p
from tests.api.support import BACKENDS, run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """All that the examples define."""
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "table").write_text("1;2\n")
    return tmp_path


def test_a_plain_program(relay: str, here: Path, code: p2p.Code, page: dict[str, Any]) -> None:
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(page["send_results"], relay, code)
        assert page["receive_results"](relay, code).files == 1
        sent.result()
    assert (here / "incoming" / "results" / "table").read_text() == "1;2\n"


def test_a_receipt(
    relay: str, here: Path, code: p2p.Code, page: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(page["send_results"], relay, code)
        page["receive_with_receipt"](relay, code)
        sent.result()
    assert page["is_still_there"]()
    (here / "incoming" / "results" / "table").write_text("1;3\n")
    assert not page["is_still_there"]()
    assert "results/table" in capsys.readouterr().out


def test_a_code(page: dict[str, Any]) -> None:
    assert p2p.Code.parse(page["new_code"]()).is_generated


def both(
    backend: str,
    sender: Callable[..., Coroutine[Any, Any, Any]],
    receiver: Callable[..., Coroutine[Any, Any, Any]],
    *args: Any,
) -> Any:
    results: list[Any] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(sender, *args))
            results.append(await receiver(*args))

    run(backend, main)
    return results[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_events(
    relay: str,
    here: Path,
    code: p2p.Code,
    page: dict[str, Any],
    backend: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = both(backend, page["send_and_watch"], page["receive_if_small"], relay, code)
    assert report.files == 1
    assert "4 of " in capsys.readouterr().out  # the total may come after the end of so short a transfer


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_relay(here: Path, code: p2p.Code, page: dict[str, Any], backend: str) -> None:
    async def main() -> None:
        counts = await page["copy_here"](code)
        assert (counts.connections, counts.served) == (0, 1)
        assert counts.received > 0

    run(backend, main)
    assert (here / "incoming" / "results" / "table").read_text() == "1;2\n"


@pytest.mark.parametrize("backend", BACKENDS)
def test_streams(relay: str, code: p2p.Code, page: dict[str, Any], backend: str) -> None:
    assert both(backend, page["send_rows"], page["count_rows"], relay, code) == 1000


def test_a_preview(here: Path, page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    (here / "results" / "con").touch()
    assert page["what_would_be_sent"]() == ["results", "results/table"]
    assert capsys.readouterr().out.startswith("results/con has a name")


def test_saved_transfers(
    relay: str, here: Path, page: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    saved = page["send_later"](relay, "states")
    assert capsys.readouterr().out == f"{saved.id} {saved.code}\n"
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(page["receive_results"], relay, saved.code)
        (report,) = page["resume_all"]("states")
        assert received.result().root == report.root
    assert page["resume_all"]("states") == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_relay_for_one_transfer(
    here: Path, code: p2p.Code, page: dict[str, Any], backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(page["send_without_a_relay"], code)
            while not (said := capsys.readouterr().out):  # noqa: ASYNC110 - a line of output has no event
                await anyio.sleep(0.01)
            address = said.split()[-1]
            with pytest.raises(p2p.RelayRefused):
                await p2p.AsyncClient(address).receive(here, code=p2p.Code.generate(), patience=0)
            await p2p.AsyncClient(address).receive("incoming", code=code)

    run(backend, main)
    assert (here / "incoming" / "results" / "table").read_text() == "1;2\n"
