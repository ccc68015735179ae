"""A worker process: a relay whose connections, limits and orders come from the supervisor.

It obeys no signal but those that cannot be ignored: a terminal and a service manager send theirs to all processes, and
the supervisor says what is to happen. If the supervisor is gone the worker stops, and its clients find the next relay.
"""

from __future__ import annotations

import dataclasses
import logging
import signal
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from p2p_copy.errors import CannotListen
from p2p_copy.relay import limits
from p2p_copy.relay.access.admission import Client
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.file_thread import FileThread
from p2p_copy.relay.log import events
from p2p_copy.relay.log.redact import LOGGER, Size
from p2p_copy.relay.server import Relay
from p2p_copy.relay.system_limits import raise_descriptor_limit
from p2p_copy.relay.workers.channel import FORM, Channel
from p2p_copy.relay.workers.remote_gate import PassedStream, RemoteGate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from p2p_copy.relay.workers.channel import Answer, Tell

IGNORED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""Signals that are the supervisor's to obey."""

_OF_THE_WHOLE = {events.LISTENING.name, events.STOPPING.name, events.STOPPED.name}
"""Events that the supervisor logs for all workers."""


def run_worker(descriptor: int) -> None:
    """Be a worker, over a channel at `descriptor`, until the supervisor ends it."""
    for name in IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise_descriptor_limit()
    trio.run(_Worker(socket.socket(fileno=descriptor)).run)


class _Worker:
    """This process, as the supervisor's orders see it."""

    def __init__(self, sock: socket.socket) -> None:
        self._channel = Channel(sock)
        tells: dict[str, Tell] = {
            "start": self._start,
            "client": self._take,
            "evict": self._evict,
            "gone": self._stop_copying,
            "vacate": lambda claim: self._relay.vacate(claim),
            "change": self._change,
            "drain": self._drain,
            "stop": self._stop,
        }
        answers: dict[str, Answer] = {
            "reload": self._reload,
            "certificate": self._use_certificate,
            "end": self._end,
            "snapshot": self._snapshot,
        }
        self._channel.hear(tells, answers)
        self._started = trio.Event()
        self._ready = False
        self._said: dict[str, Any] = {}
        self._listener = _Passed()

    async def run(self) -> None:
        """Run until the relay has ended, by an order or because the supervisor is gone."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._talk)
            await self._started.wait()
            try:
                await self._prepare()
            except CannotListen as error:
                self._channel.tell("failed", why=str(error))
                await self._channel.flush()
                nursery.cancel_scope.cancel()
                return
            self._channel.tell("ready", form=FORM)
            self._ready = True
            nursery.start_soon(self._report)
            await self._relay.serve([self._listener])
            self._channel.tell("report", **self._facts())
            await self._channel.flush()
            nursery.cancel_scope.cancel()

    async def _talk(self) -> None:
        await self._channel.run()
        self._stop(limits.STOP_TIMEOUT)  # the supervisor is gone

    def _start(self, **said: Any) -> None:
        self._said = said
        self._started.set()

    async def _prepare(self) -> None:
        said = self._said
        LOGGER.addHandler(ToSupervisor(self._channel))
        LOGGER.setLevel(said["log_level"])
        LOGGER.propagate = False
        logging.getLogger("trio-websocket").setLevel(logging.WARNING)
        config = config_from(said["config"])
        gate = partial(RemoteGate, config, self._channel, said["place"], said["workers"])
        self._relay = await FileThread().run("Certificate or key", Relay, config, gate)

    async def _report(self) -> None:
        while True:
            self._channel.tell("report", **self._facts())
            await trio.sleep(limits.WORKER_REPORT_INTERVAL)

    def _facts(self, *, with_pairings: bool = False) -> dict[str, Any]:
        return self._relay.current(with_pairings=with_pairings).facts()

    def _take(self, descriptor: int | None, **said: Any) -> None:
        """Take over a connection."""
        client = Client(**said)
        self._channel.tell("taken", number=client.number)
        if descriptor is None:  # this process can open no more: the connection is closed by that
            events.EXHAUSTED.log(())
            self._channel.tell("left", number=client.number)
            return
        sock = socket.socket(fileno=descriptor)
        with suppress(OSError):  # it has ended already
            if not self._relay.draining:
                stream = PassedStream(trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
                stream.client = client
                self._gate.expect(client)
                self._listener.put(stream)
                return
        sock.close()
        self._channel.tell("left", number=client.number)

    def _drain(self, seconds: float) -> None:
        if self._ready:
            self._nursery.start_soon(self._drain_soon, seconds)
        else:
            self._nursery.cancel_scope.cancel()

    async def _drain_soon(self, seconds: float) -> None:
        """Drain as soon as those are served that were passed on before, so that they are told to come back."""
        while self._listener.waiting:
            await trio.lowlevel.checkpoint()
        self._relay.drain(seconds)

    def _stop(self, within: float) -> None:
        if self._ready:
            self._relay.stop(within)
        else:
            self._nursery.cancel_scope.cancel()

    @property
    def _gate(self) -> RemoteGate:
        assert isinstance(self._relay.gatekeeper, RemoteGate)
        return self._relay.gatekeeper

    def _evict(self, number: int) -> None:
        self._gate.evict(number)

    def _stop_copying(self, number: int) -> None:
        self._gate.stop_copying(number)

    def _change(self, config: dict[str, Any]) -> None:
        self._relay.change(config_from(config))

    async def _reload(self) -> bool:
        return await self._relay.reload()

    async def _use_certificate(self, certfile: str, keyfile: str) -> bool:
        return await self._relay.use_certificate(certfile, keyfile)

    async def _end(self, number: int) -> bool:
        return await self._relay.end(number)

    async def _snapshot(self) -> dict[str, Any]:
        return self._facts(with_pairings=True)


class _Passed(trio.abc.Listener[PassedStream]):
    """The connections that the supervisor passes on."""

    def __init__(self) -> None:
        self._come, self._coming = trio.open_memory_channel[PassedStream](limits.MAX_CONTROL_MESSAGE)

    @property
    def waiting(self) -> int:
        return self._come.statistics().current_buffer_used

    def put(self, stream: PassedStream) -> None:
        self._come.send_nowait(stream)

    async def accept(self) -> PassedStream:
        return await self._coming.receive()

    async def aclose(self) -> None:
        await self._coming.aclose()


class ToSupervisor(logging.Handler):
    """Sends events to the supervisor, which writes the lines and counts floods for all workers together.

    While it does not read them, events are only counted: the channel is for what cannot be left out.
    """

    def __init__(self, channel: Channel) -> None:
        """Send over `channel`."""
        super().__init__()
        self._channel = channel
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, or count it."""
        event = getattr(record, "event", None)
        if event is None or event.name in _OF_THE_WHOLE:
            return
        if self._channel.unsent > limits.WORKER_LOG_UNSENT:
            self._dropped += 1
            return
        if self._dropped:
            self._send(events.DROPPED.record((), count=self._dropped))
            self._dropped = 0
        self._send(record)

    def _send(self, record: logging.LogRecord) -> None:
        facts = record.args if isinstance(record.args, dict) else {}
        event: events.Event = record.event  # type: ignore[attr-defined]
        self._channel.tell(
            "log", event=event.name, facts=packed(facts), addresses=getattr(record, "addresses", [])
        )


def packed(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of an event so that a `Size` stays one on its way as JSON."""
    return {name: {"size": int(value)} if isinstance(value, Size) else value for name, value in facts.items()}


def unpacked(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what `packed` was given."""
    return {name: Size(value["size"]) if isinstance(value, dict) else value for name, value in facts.items()}


_NOT_A_WORKERS: Iterable[str] = ("host", "port", "more", "rooms", "tokens_file", "trusted_proxies")
"""What the supervisor needs of a configuration, and a worker does not."""


def config_for_worker(config: RelayConfig, share: int) -> dict[str, Any]:
    """Return a configuration as a worker gets it, which may hold `share` bytes."""
    facts = {each.name: getattr(config, each.name) for each in dataclasses.fields(config)}
    for name in _NOT_A_WORKERS:
        del facts[name]
    for name in ("certfile", "keyfile", "challenge_folder", "web"):
        facts[name] = None if facts[name] is None else str(facts[name])
    return facts | {"max_memory": share, "watch_certificates": False}


def config_from(facts: dict[str, Any]) -> RelayConfig:
    """Return the configuration that `config_for_worker` has made `facts` of."""
    return RelayConfig(None, **facts)
