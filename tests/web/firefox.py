"""Drives Firefox by WebDriver BiDi, which it speaks itself: Playwright drives only a Firefox of its own.

Browser, context and page have the names of Playwright's, as far as the tests of all browsers need them, so that one
test drives either.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websockets.sync.client import ClientConnection

EXECUTABLE: Final = shutil.which("firefox-esr") or shutil.which("firefox")

_START: Final = 60
"""Seconds within which Firefox must listen: other tests run beside this one."""

_END: Final = 20
"""Seconds to end by itself, and to tell its pages so. On a busy machine it may need more, and no test depends on it."""

_PATIENTLY: Final[dict[str, Any]] = {
    "max_size": None,
    "compression": None,
    "proxy": None,
    "open_timeout": _START,
    "ping_interval": None,
}
"""How to talk with it. A busy machine may let it answer no ping for 20 seconds; then all tests with it would fail."""

_POLL: Final = 0.05
"""Seconds between two looks at something."""

_KEYS: Final = {"Enter": "\ue007", "Tab": "\ue004"}

_EVENTS: Final = ("log.entryAdded", "browsingContext.downloadWillBegin", "browsingContext.downloadEnd")

_VISIBLE: Final = """(selector) => {
    const found = document.querySelector(selector);
    return found !== null && found.checkVisibility({ visibilityProperty: true });
}"""

_FILL: Final = """(selector, text) => {
    const field = document.querySelector(selector);
    field.focus();
    field.value = text;
    field.dispatchEvent(new Event('input', { bubbles: true }));
}"""

_FIND: Final = """(selector) => {
    const found = document.querySelector(selector);
    found.scrollIntoView({ block: 'center' });
    return found;
}"""


class Connection:
    """Commands and their answers. What Firefox tells meanwhile is heard while an answer is awaited."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._last = 0
        self.pages: dict[str, Page] = {}

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return what Firefox answers. Raises `AssertionError` if it cannot do that."""
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._socket.recv())
            if told.get("id") == self._last:
                assert told["type"] == "success", f"{method}: {told}"
                answer: dict[str, Any] = told["result"]
                return answer
            if told["type"] == "event":
                self._hear(told["method"], told["params"])

    def _hear(self, event: str, told: dict[str, Any]) -> None:
        context = told["source"].get("context") if event == "log.entryAdded" else told["context"]
        if page := self.pages.get(context):
            page.hear(event, told)


class Firefox:
    """A Firefox without a window, in a profile that lasts as long as it.

    Attributes:
        pid: its process; those of its pages are below it.

    """

    def __init__(self, connection: Connection, folder: Path, pid: int) -> None:
        self._connection = connection
        self._folder = folder
        self.pid = pid
        self.contexts: list[Context] = []

    def new_context(self, *, ignore_https_errors: bool = False) -> Context:
        """Return a context with its own storage. Certificates of unknown authorities are believed in each of them."""
        context = Context(self, self._connection, Path(tempfile.mkdtemp(dir=self._folder)))
        self.contexts.append(context)
        return context


class Context:
    """Pages that share a storage, which others do not see."""

    def __init__(self, browser: Firefox, connection: Connection, downloads: Path) -> None:
        self._browser = browser
        self._connection = connection
        self._id = connection.command("browser.createUserContext")["userContext"]
        connection.command(
            "browser.setDownloadBehavior",
            downloadBehavior={"type": "allowed", "destinationFolder": str(downloads)},
            userContexts=[self._id],
        )

    def new_page(self) -> Page:
        """Return a page in a new tab."""
        made = self._connection.command("browsingContext.create", type="tab", userContext=self._id)
        return Page(self._connection, made["context"])

    def close(self) -> None:
        """Close its pages, and forget what they have stored."""
        self._browser.contexts.remove(self)
        self._connection.command("browser.removeUserContext", userContext=self._id)


@dataclass
class Download:
    """One file that the browser has written."""

    suggested_filename: str
    path: Path

    def save_as(self, to: Path) -> None:
        """Move it there."""
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(self.path, to)


@dataclass
class Started:
    """A download that may not have come to its end."""

    value: Download | None = None


@dataclass
class Text:
    """What a page has written to its console, or an error that nobody caught."""

    text: str


@dataclass
class Page:
    """One tab."""

    connection: Connection
    context: str
    patience: float = 30
    told: dict[str, list[Callable[[Text], object]]] = field(default_factory=dict)
    downloads: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connection.pages[self.context] = self

    def hear(self, event: str, told: dict[str, Any]) -> None:
        """Pass an event of this page on."""
        if event == "log.entryAdded":
            for listener in self.told.get("console", []):
                listener(Text(str(told["text"])))
        else:
            self.downloads.append(told)

    def set_default_timeout(self, milliseconds: float) -> None:
        """Set how long to wait for anything."""
        self.patience = milliseconds / 1000

    def on(self, event: str, listener: Callable[[Text], object]) -> None:
        """Have errors and whatever is written to the console told to `listener`, as "console"."""
        self.told.setdefault(event, []).append(listener)

    def goto(self, url: str) -> None:
        """Open an address."""
        self.connection.command("browsingContext.navigate", context=self.context, url=url, wait="complete")

    def reload(self) -> None:
        """Load the page again."""
        self.connection.command("browsingContext.reload", context=self.context, wait="complete")

    def close(self) -> None:
        """Close the tab, whatever the page says to that."""
        self.connection.command("browsingContext.close", context=self.context, promptUnload=False)
        del self.connection.pages[self.context]

    def evaluate(self, function: str, *values: str) -> Any:
        """Call a function of JavaScript in the page; return what can be written as JSON."""
        whole = f"async (...values) => JSON.stringify(await ({function})(...values)) ?? 'null'"
        return json.loads(self._call(whole, *values)["value"])

    def _call(self, function: str, *values: str) -> dict[str, Any]:
        answer = self.connection.command(
            "script.callFunction",
            functionDeclaration=function,
            arguments=[{"type": "string", "value": value} for value in values],
            target={"context": self.context},
            awaitPromise=True,
            userActivation=False,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        result: dict[str, Any] = answer["result"]
        return result

    @property
    def url(self) -> str:
        """Its address."""
        return str(self.evaluate("() => location.href"))

    def wait_for_timeout(self, milliseconds: float) -> None:
        """Wait, and do nothing else."""
        time.sleep(milliseconds / 1000)

    def _until(self, true: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + self.patience
        while not true():
            shown = self.evaluate("() => document.body.innerText") if time.monotonic() > end else ""
            assert time.monotonic() < end, f"not within {self.patience} s: {what}; the page says: {shown}"
            time.sleep(_POLL)

    def is_visible(self, selector: str) -> bool:
        """Tell whether something can be seen."""
        return bool(self.evaluate(_VISIBLE, selector))

    def wait_for_selector(self, selector: str) -> None:
        """Wait until it can be seen."""
        self._until(lambda: self.is_visible(selector), selector)

    def inner_text(self, selector: str) -> str:
        """Return what is written there."""
        return str(self.evaluate("(selector) => document.querySelector(selector).innerText", selector))

    def get_attribute(self, selector: str, name: str) -> str:
        """Return the value of an attribute."""
        found = "(selector, name) => document.querySelector(selector).getAttribute(name)"
        return str(self.evaluate(found, selector, name))

    def fill(self, selector: str, text: str) -> None:
        """Write into a field."""
        self.wait_for_selector(selector)
        self.evaluate(_FILL, selector, text)

    def press(self, selector: str, key: str) -> None:
        """Press a key while the focus is there."""
        self.evaluate("(selector) => void document.querySelector(selector).focus()", selector)
        actions = [{"type": kind, "value": _KEYS[key]} for kind in ("keyDown", "keyUp")]
        self._perform({"type": "key", "id": "keyboard", "actions": actions})

    def click(self, selector: str) -> None:
        """Click on it with a mouse, once it can be seen and is enabled."""
        self.wait_for_selector(f"{selector}:not(:disabled)")
        origin = {"type": "element", "element": self._element(selector)}
        move = {"type": "pointerMove", "x": 0, "y": 0, "origin": origin}
        click = [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        self._perform({"type": "pointer", "id": "mouse", "actions": [move, *click]})

    def _perform(self, source: dict[str, Any]) -> None:
        self.connection.command("input.performActions", context=self.context, actions=[source])
        self.connection.command("input.releaseActions", context=self.context)

    def _element(self, selector: str) -> dict[str, str]:
        return {"sharedId": self._call(_FIND, selector)["sharedId"]}

    def set_input_files(self, selector: str, files: list[str]) -> None:
        """Choose files."""
        element = self._element(selector)
        self.connection.command("input.setFiles", context=self.context, element=element, files=files)

    @contextmanager
    def expect_download(self) -> Iterator[Started]:
        """Yield a download that is over at the end of the block, in `value`."""
        self.downloads.clear()
        started = Started()
        yield started
        self._until(self._downloaded, "the end of a download")
        begin, end = self.downloads
        assert end["status"] == "complete", end
        started.value = Download(begin["suggestedFilename"], Path(end["filepath"]))

    def _downloaded(self) -> bool:
        self.evaluate("() => null")  # events are heard on the way
        return len(self.downloads) > 1


@contextmanager
def firefox() -> Iterator[Firefox]:
    """Run Firefox."""
    assert EXECUTABLE is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
        folder = Path(made)
        words = (EXECUTABLE, "--headless", "--no-remote", "--profile", made, "--remote-debugging-port", "0")
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(f"{_address(folder)}/session", **_PATIENTLY) as socket:
                connection = Connection(socket)
                wanted = {"alwaysMatch": {"acceptInsecureCerts": True}}
                connection.command("session.new", capabilities=wanted)
                connection.command("session.subscribe", events=_EVENTS)
                yield Firefox(connection, folder, process.pid)
                connection.command("browser.close")
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END)
        finally:
            process.kill()
            process.wait()


def _address(profile: Path) -> str:
    """Return where it listens, which it writes into its profile."""
    told = profile / "WebDriverBiDiServer.json"
    end = time.monotonic() + _START
    while time.monotonic() < end:
        try:
            where = json.loads(told.read_text())
        except (OSError, ValueError):  # it is not there, or not whole
            time.sleep(_POLL)
        else:
            return f"ws://{where['ws_host']}:{where['ws_port']}"
    raise AssertionError(f"Firefox did not listen within {_START} s")
