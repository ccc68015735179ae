"""Where the three of a round are: each in a network of its own, or all on this machine's loopback.

    sender --+
             |
    relay ---+--- a bridge, in a fourth namespace that we made
             |
    receiver +

Each is a network namespace (ip-netns(8)) with one interface, a veth pair that leads to the bridge. Nothing of it
touches this machine's own networks, and nothing leads out.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.campaigns.chaos_plan import Who

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME = "relay.chaos.test"
"""The relay's name; RFC 6761 keeps `test` out of the DNS."""

NETWORK = ipaddress.IPv4Network("198.18.78.0/24")
"""For tests of networks (RFC 2544)."""

HOSTS = {Who.SENDER: NETWORK[1], Who.RECEIVER: NETWORK[2]}
FIRST, LAST = 10, 200
"""Addresses that the relay has in turn."""

PORT = 8765
INTERFACE = "eth0"
"""Each one's own."""

BRIDGE = "bridge"

NETNS = Path("/etc/netns")
"""`ip netns exec` shows NETNS/NAME/hosts as /etc/hosts to what it starts."""

QUICK = 5.0


class NoNetworks(Exception):
    """Namespaces cannot be made here; says why."""


class Place(Protocol):
    """Where a round takes place."""

    host: str
    """By which clients find the relay."""
    listen: tuple[str, str]
    """Host and port of the relay."""

    def inside(self, who: Who) -> Sequence[str]:
        """Return what a command begins with that runs there."""


class Loopback:
    """No networks: this machine, and a port that no connection gets by itself.

    A client that tries a port of the ephemeral range while no program listens may get the same port for its own end,
    and be connected to itself.
    """

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.listen = (self.host, str(20_000 + os.getpid() % 10_000))

    def inside(self, who: Who) -> Sequence[str]:
        return ()


class Networks:
    """The namespaces."""

    host = NAME
    listen = ("0.0.0.0", str(PORT))

    def __init__(self, names: dict[Who, str], hub: str, residents: dict[Who, int]) -> None:
        self._names = names
        self._hub = hub
        self._residents = residents
        self._number = FIRST
        self._has_address = False
        self._down: dict[Who, str] = {}

    def inside(self, who: Who) -> Sequence[str]:
        return _inside(self._names[who])

    def sent(self) -> int:
        """Return the bytes that the sender's machine has sent so far."""
        return self._counters(Who.SENDER)[8]

    def arrived(self) -> int:
        """Return the bytes that have come to the receiver's machine so far."""
        return self._counters(Who.RECEIVER)[0]

    def _counters(self, who: Who) -> list[int]:
        """Return the counters of an interface (proc_pid_net(5)): eight of what came, then those of what went."""
        lines = Path(f"/proc/{self._residents[who]}/net/dev").read_text(encoding="ascii").splitlines()
        (line,) = (line for line in lines if line.lstrip().startswith(f"{INTERFACE}:"))
        return [int(figure) for figure in line.partition(":")[2].split()]

    def cut(self, who: Who, way: str) -> None:
        """Pull out a cable at the bridge, or turn the own interface off."""
        self._down[who] = way
        self._set(who, way, "down")

    def join(self, who: Who) -> None:
        if way := self._down.pop(who, None):
            self._set(who, way, "up")

    def join_all(self) -> None:
        for who in tuple(self._down):
            self.join(who)

    def _set(self, who: Who, way: str, state: str) -> None:
        namespace, name = (self._hub, who.value) if way == "cable" else (self._names[who], INTERFACE)
        _ip("-n", namespace, "link", "set", "dev", name, state)

    @property
    def _address(self) -> str:
        return str(NETWORK[self._number])

    def take_address(self) -> None:
        """Take the relay's address away from its machine."""
        self._change_address("del")
        self._has_address = False

    def give_address(self) -> None:
        """Give the relay's machine another address. Clients do not know of it."""
        self._number = FIRST + (self._number + 1 - FIRST) % (LAST - FIRST)
        self._change_address("add")
        self._has_address = True

    def _change_address(self, what: str) -> None:
        address = f"{self._address}/{NETWORK.prefixlen}"
        _ip("-n", self._names[Who.RELAY], "address", what, address, "dev", INTERFACE)

    def settle(self) -> None:
        """Let the relay have an address that its name means, wherever a move of it was cut short."""
        if not self._has_address:
            self.give_address()
        self.publish_address()

    def publish_address(self) -> None:
        """Let the relay's name mean its address.

        The files stay the same, because programs that run have them mounted, and each is written in one go and with
        one length, so that no reader ever finds half a line.
        """
        line = f"127.0.0.1 localhost\n{self._address:<15} {NAME}\n".encode()
        for name in self._names.values():
            file = os.open(NETNS / name / "hosts", os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(file, line, 0)
            finally:
                os.close(file)


def _inside(namespace: str) -> tuple[str, ...]:
    return "ip", "netns", "exec", namespace


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise NoNetworks(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def networks() -> Iterator[Networks]:
    """Make the namespaces, and remove them.

    Raises:
        NoNetworks: they cannot be made here.

    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise NoNetworks("that needs root, and ip of iproute2")
    stem = f"p2p-chaos-{os.getpid()}"
    hub, names = f"{stem}-hub", {who: f"{stem}-{who}" for who in Who}
    with ExitStack() as stack:
        for name in (hub, *names.values()):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)  # and with it its interfaces
        _ip("-n", hub, "link", "add", "name", BRIDGE, "type", "bridge")
        _ip("-n", hub, "link", "set", "dev", BRIDGE, "up")
        for who, name in names.items():
            pair = ("name", who.value, "type", "veth", "peer", "name", INTERFACE, "netns", name)
            _ip("-n", hub, "link", "add", *pair)
            _ip("-n", hub, "link", "set", "dev", who.value, "master", BRIDGE, "up")
            _ip("-n", name, "link", "set", "dev", "lo", "up")
            _ip("-n", name, "link", "set", "dev", INTERFACE, "up")
            if who in HOSTS:
                address = f"{HOSTS[who]}/{NETWORK.prefixlen}"
                _ip("-n", name, "address", "add", address, "dev", INTERFACE)
            stack.enter_context(_hosts_of(name))
        residents = {who: stack.enter_context(_resident(names[who])) for who in HOSTS}
        made = Networks(names, hub, residents)
        made.give_address()
        made.publish_address()
        yield made


@contextmanager
def _hosts_of(namespace: str) -> Iterator[None]:
    """Make a place for a namespace's file of names."""
    folder = NETNS / namespace
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder)
        with suppress(OSError):  # others have theirs there, too
            NETNS.rmdir()


@contextmanager
def _resident(namespace: str) -> Iterator[int]:
    """Yield the id of a process that does nothing but live there: through it the counters can be read at any time."""
    process = subprocess.Popen([*_inside(namespace), "sleep", "infinity"], start_new_session=True)
    try:
        deadline = time.monotonic() + QUICK
        while INTERFACE + ":" not in Path(f"/proc/{process.pid}/net/dev").read_text(encoding="ascii"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NoNetworks("no process can run in a namespace")
            time.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        process.wait()
