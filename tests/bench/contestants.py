"""The programs that are compared. Each runs a whole transfer as its users do, on this machine, with its own servers."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.bench.runs import HOST, Client, Place, Run, free_port, serving, started, together, variables, wait

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.certificates import Certificates

WAITING = 2.0
"""Seconds after which a receiver that starts first is idle and waits at its relay."""

UNLIMITED = tuple(
    word
    for option in (
        "max-per-source",
        "max-pending-per-source",
        "connections-per-minute",
        "joins-per-minute",
        "frames-per-second",
    )
    for word in (f"--{option}", "0")
)
"""Options with which a relay of ours takes any number of clients of one machine, and of frames, as 0.1.2 does."""

PASSPHRASE = "a long passphrase"


class Contestant(ABC):
    """Copies a file or a tree from one process to another; the copy gets the source's name below `out`."""

    name: str

    @abstractmethod
    def copy(self, source: Path, outs: Sequence[Path], folder: Path, *, receiver_waits: bool = False) -> Run:
        """Copy to each of `outs`, which exist and are empty, all at once; `folder` takes logs.

        The receivers come first and wait, or come at the same time as their senders.
        """

    def help(self, folder: Path) -> Run:
        """Run `--help`."""
        raise NotImplementedError


class Relayed(Contestant):
    """A program whose sender and receiver meet at a relay: p2p-copy, its last release and magic-wormhole."""

    program: str
    env: dict[str, str]
    place = Place()

    def copy(self, source: Path, outs: Sequence[Path], folder: Path, *, receiver_waits: bool = False) -> Run:
        """Copy through one relay; each receiver has a sender and a code of its own."""
        ports = [free_port() for _ in range(2)]
        with ExitStack() as servers, started() as receivers, started() as senders:
            relay, *_ = [
                servers.enter_context(serving(words, folder, self.env, port, self.place))
                for words, port in zip(self.servers(*ports), ports, strict=False)
            ]
            for number, out in enumerate(outs):
                receivers.append(
                    Client([self.program, *self.receive(ports, number, out)], folder, self.code(number))
                )
            if receiver_waits:
                time.sleep(WAITING)
            for number in range(len(outs)):
                senders.append(
                    Client([self.program, *self.send(ports, number, source)], folder, self.code(number))
                )
            used = wait([*senders, *receivers])
            sent, received = together(used[: len(outs)]), together(used[len(outs) :])
            return Run(sent, received, relay.used(), relay.start)

    def help(self, folder: Path) -> Run:
        with started() as clients:
            clients.append(Client([self.program, "--help"], folder, self.env))
            return Run(together(wait(clients)))

    def code(self, number: int) -> dict[str, str]:
        """Return a client's environment; it may hold the code."""
        return self.env

    @abstractmethod
    def servers(self, *ports: int) -> list[Sequence[str]]:
        """Return the relay's command, and those of other servers, each for its port."""

    @abstractmethod
    def send(self, ports: Sequence[int], number: int, source: Path) -> Sequence[str]: ...

    @abstractmethod
    def receive(self, ports: Sequence[int], number: int, out: Path) -> Sequence[str]: ...


class PeerToPeerCopy(Relayed):
    """Either p2p-copy: one relay, with TLS or without."""

    legacy = False
    """Whether it speaks the rendezvous of 0.1.x."""

    def __init__(
        self,
        program: str,
        certificates: Certificates | None = None,
        place: Place | None = None,
        relay_options: Sequence[str] = (),
    ) -> None:
        self.program = program
        self.place = place or self.place
        self._relay_options = relay_options
        self._certificates = certificates
        self.env = variables(SSL_CERT_FILE=certificates.authority) if certificates else variables()

    def _url(self, host: str, ports: Sequence[int]) -> str:
        return f"{'wss' if self._certificates else 'ws'}://{host}:{ports[0]}"

    def servers(self, *ports: int) -> list[Sequence[str]]:
        options = self._certificates.options if self._certificates else ("--no-tls",)
        where = (self.place.listen, str(ports[0]))
        return [(self.program, "run-relay-server", *where, *options, *self._relay_options)]


class Ours(PeerToPeerCopy):
    """The p2p-copy of this checkout."""

    name = "p2p-copy"

    def code(self, number: int) -> dict[str, str]:
        return {**self.env, "P2P_COPY_CODE": f"lab{number}-{PASSPHRASE}"}

    def send(self, ports: Sequence[int], number: int, source: Path) -> Sequence[str]:
        return "send", "--server", self._url(self.place.sender, ports), str(source)

    def receive(self, ports: Sequence[int], number: int, out: Path) -> Sequence[str]:
        return "receive", "--server", self._url(self.place.receiver, ports), "--out", str(out)


class Rival(PeerToPeerCopy):
    """p2p-copy 0.1.2 as released: encrypted like ours, without compression unless it is asked for."""

    name = "0.1.2"
    legacy = True
    compress = "off"

    def send(self, ports: Sequence[int], number: int, source: Path) -> Sequence[str]:
        words = "send", self._url(self.place.sender, ports), f"{PASSPHRASE} {number}", str(source)
        return *words, "--encrypt", "--compress", self.compress

    def receive(self, ports: Sequence[int], number: int, out: Path) -> Sequence[str]:
        return (
            "receive",
            self._url(self.place.receiver, ports),
            f"{PASSPHRASE} {number}",
            "--encrypt",
            "--out",
            str(out),
        )


class Wormhole(Relayed):
    """magic-wormhole through its transit relay; the key exchange goes through its mailbox server beside that."""

    name = "magic-wormhole"

    def __init__(self, program: str, twist: str) -> None:
        self.program, self._twist = program, twist
        self.env = variables()

    def servers(self, *ports: int) -> list[Sequence[str]]:
        transit, mailbox = (f"tcp:{port}:interface={HOST}" for port in ports)
        database = ("--channel-db", ":memory:")
        return [
            (self._twist, "transitrelay", "--port", transit),
            (self._twist, "wormhole-mailbox", "--port", mailbox, *database),
        ]

    def _place(self, ports: Sequence[int]) -> Sequence[str]:
        transit, mailbox = ports
        return "--relay-url", f"ws://{HOST}:{mailbox}/v1", "--transit-helper", f"tcp:{HOST}:{transit}"

    def send(self, ports: Sequence[int], number: int, source: Path) -> Sequence[str]:
        code = f"{number + 1}-{PASSPHRASE.replace(' ', '-')}"
        return *self._place(ports), "send", "--no-listen", "--hide-progress", "--code", code, str(source)

    def receive(self, ports: Sequence[int], number: int, out: Path) -> Sequence[str]:
        code = f"{number + 1}-{PASSPHRASE.replace(' ', '-')}"
        options = ("--no-listen", "--hide-progress", "--accept-file", "--output-file", str(out))
        return *self._place(ports), "receive", *options, code
