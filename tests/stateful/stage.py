"""A Trio loop that runs only in `do` and `wait`, and links in memory that a test controls.

What `send` and `receive` would do in a worker thread is done in the thread of the loop. So a step is over when
all tasks wait for something, and the same steps always have the same result.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import CloseCode, Hello, Paired, Role, Welcome
from p2p_copy.transport import limits
from p2p_copy.transport.link import LinkBroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from p2p_copy.transport.address import RelayAddress
    from p2p_copy.transport.proxy_address import ProxyAddress

T = TypeVar("T")

GONE: Final = "the end of a link"
"""In a list of messages: their sender has closed its link, or lost it."""

ROOM: Final = 4
"""Messages of one side that may be under way before it waits."""

DEAD: ContextVar[list[bool]] = ContextVar("dead")
"""Not empty once the process of a task was killed."""


class Stage:
    """The loop, in its own thread. It runs only in `do` and `wait`."""

    def __init__(self) -> None:
        self._clock = MockClock()
        self._up = threading.Event()
        self._thread = threading.Thread(
            target=trio.run, args=(self._run,), kwargs={"clock": self._clock}, daemon=True
        )
        self._thread.start()
        self._up.wait()

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._over = trio.Event()
        async with trio.open_nursery() as self._nursery:
            self._up.set()
            await self._over.wait()
            self._nursery.cancel_scope.cancel()

    def do(self, action: Callable[[], T]) -> T:
        """Call a function in the loop, and run all tasks until they wait."""

        async def act() -> T:
            value = action()
            await wait_all_tasks_blocked()
            return value

        return trio.from_thread.run(act, trio_token=self._token)

    def start(self, task: Callable[[], Awaitable[object]]) -> None:
        """Start a task."""
        self.do(lambda: self._nursery.start_soon(task))

    @property
    def now(self) -> float:
        """The time on its clock, in seconds."""
        return self._clock.current_time()

    def wait(self, seconds: float) -> None:
        """Let time pass, in steps: a longer step would count as a pause of the process (`transport.timeouts`)."""
        while seconds > 0:
            step = min(seconds, limits.NOT_RUN)
            self.do(lambda step=step: self._clock.jump(step))  # type: ignore[misc]
            seconds -= step

    def close(self) -> None:
        """End the loop, and all that runs in it."""
        self._token.run_sync_soon(self._over.set)
        self._thread.join()


async def at_once(work: Callable[..., T], *args: Any, **_options: Any) -> T:
    """Replace `trio.to_thread.run_sync`. A killed process does nothing more, not even clean-up."""
    await trio.lowlevel.checkpoint()
    if DEAD.get([]):
        return None  # type: ignore[return-value]  # the caller was killed
    return work(*args)


class Network:
    """A relay without limits: it pairs the clients of a room; a test delivers their messages.

    Attributes:
        on_the_way: messages that were sent and not delivered, by their sender's role.
        paired: the two clients that are paired.

    """

    def __init__(self, on_the_way: dict[Role, list[bytes | str]]) -> None:
        self.on_the_way = on_the_way
        self.paired: dict[Role, Memory] = {}
        self._waiting: dict[tuple[str, Role], Memory] = {}

    @asynccontextmanager
    async def connect(
        self,
        _address: RelayAddress,
        path: str,
        *,
        max_message: int,
        proxy: ProxyAddress | None = None,
        ca_file: str | None = None,
        pin: bytes | None = None,
        hint: str | None = None,
    ) -> AsyncIterator[Memory]:
        """Stand for `dial.connect`."""
        assert (proxy, ca_file, pin) == (None, None, None)
        link = Memory(self, path)
        try:
            yield link
            await link.aclose()
        finally:
            link.abort()

    def join(self, link: Memory, text: bytes | str) -> None:
        """Handle a client's hello."""
        hello = rendezvous.decode_hello(text, link.path)
        assert isinstance(hello, Hello)
        role, partner = hello.role, other(hello.role)
        link.role = role
        link.hear(rendezvous.encode(Welcome("relay", 10**6, 3600)))
        if role in self.paired:  # it has come back: the pairing is over
            self._end_pairing()
        there = self._waiting.pop((link.path, partner), None)
        if there is None:
            self._waiting[link.path, role] = link
            return
        self._end_pairing()
        self.paired = {role: link, partner: there}
        for each in self.paired.values():
            self.on_the_way[other(role)].clear()
            self.on_the_way[role].clear()
            each.hear(rendezvous.encode(Paired()))

    def _end_pairing(self) -> None:
        for link in self.paired.values():
            link.end(LinkBroken(close_code=CloseCode.PEER_LOST))
        self.paired = {}

    def leave(self, link: Memory) -> None:
        """End a link."""
        for place in [place for place, each in self._waiting.items() if each is link]:
            del self._waiting[place]
        if link.role is not None and self.paired.get(link.role) is link:
            self.on_the_way[link.role].append(GONE)

    def deliver(self, author: Role, message: bytes | str) -> None:
        """Deliver a message to the other client of the pair."""
        link, listener = self.paired.get(author), self.paired.get(other(author))
        if link is not None:
            link.say_on()
        if listener is not None and message is GONE:
            listener.end(LinkBroken(close_code=CloseCode.PEER_LOST))
        elif listener is not None:
            listener.hear(message)


class Memory:
    """One side's end of a link; replaces `link.Link`."""

    def __init__(self, network: Network, path: str) -> None:
        self.path = path
        self.role: Role | None = None
        self.over = False
        self.sets_aside: Callable[[str], bool] | None = None
        self.aside, self.under_way, self.heard_at = "", 0, 0.0
        self._network = network
        self._inbox: deque[bytes | str] = deque()
        self._end: Exception | None = None
        self._news = trio.Event()

    def limit_rate(self, _pacer: object, *, sends: bool) -> None:
        """No test here has a limit."""

    def limit_unsent(self, most: int) -> None:
        """Nothing is kept below this."""

    def acked_bytes(self) -> tuple[int, bool]:
        return 0, False

    async def send(self, item: bytes | str) -> None:
        await trio.lowlevel.checkpoint()
        self._check()
        if self.role is None:
            self._network.join(self, item)
            return
        said = self._network.on_the_way[self.role]
        try:
            while len(said) >= ROOM:
                await self._news.wait()
                self._check()
        except BaseException:
            self.abort()
            raise
        said.append(item)

    async def send_all(self, items: Iterable[bytes | str]) -> None:
        for item in items:
            await self.send(item)

    def read_ahead(self, size: int, messages: int) -> None:
        """All that came is here."""

    async def receive_some(self, most: int) -> list[bytes | str]:
        return [await self.receive()]

    async def receive(self) -> bytes | str:
        await trio.lowlevel.checkpoint()
        while True:
            while not self._inbox:
                self._check()
                await self._news.wait()
            data = self._inbox.popleft()
            if self.sets_aside is None or not isinstance(data, str) or not self.sets_aside(data):
                return data
            self.aside = data

    async def aclose(self) -> None:
        await self.close(1000)

    async def close(self, code: int) -> None:
        await trio.lowlevel.checkpoint()
        self.abort(anyio.ClosedResourceError())

    def abort(self, error: Exception | None = None) -> None:
        """End this side's use of the link."""
        if not self.over:
            self.end(error or LinkBroken())
            self._network.leave(self)
        self.over = True

    def hear(self, message: bytes | str) -> None:
        """Add a message that this side receives."""
        self._inbox.append(message)
        self.say_on()

    def end(self, error: Exception) -> None:
        """End what this side receives."""
        self._end = self._end or error
        self.say_on()

    def say_on(self) -> None:
        """Wake the task that waits."""
        self._news.set()
        self._news = trio.Event()

    def _check(self) -> None:
        if self._end is not None:
            raise type(self._end)(*self._end.args, **self._code())

    def _code(self) -> dict[str, int]:
        return {"close_code": self._end.close_code} if isinstance(self._end, LinkBroken) else {}


def other(role: Role) -> Role:
    """Return the other role."""
    return Role.RECEIVER if role is Role.SENDER else Role.SENDER
