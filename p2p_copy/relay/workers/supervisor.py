"""The first process of a relay with workers: listens, admits, passes connections on, and gives orders to all workers.

    listeners -> admit -> PROXY header -> whose room? -> the worker that has the room       nothing per byte

It has the interface of `server.Relay`, so that signals, the admin address and the service manager need not know which
of the two they have. Rules:
1. What is counted for the whole relay is counted here, by one `Gatekeeper`: connections, arrivals, joins, tokens,
   quotas, and the rates that pairings of several workers share. Workers ask.
2. Memory is divided: each worker process may hold its part of `max_memory`.
3. A worker that dies is started again; its clients leave, and come back by themselves. Connections for it wait as long
   as their budget of time lasts, those included that it was sent and had not taken.
4. A worker that is replaced takes no more clients, and ends with its last pairing. Its successor has the same rooms.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import socket
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from p2p_copy.errors import CannotListen
from p2p_copy.protocol.rendezvous import STILL_WAITING, Hello, Refused, Role, encode
from p2p_copy.relay import limits
from p2p_copy.relay.access.deadline import ArrivalDeadlines
from p2p_copy.relay.access.gatekeeper import NO_PLACE, Gatekeeper
from p2p_copy.relay.entry.listeners import listen
from p2p_copy.relay.file_thread import FileThread
from p2p_copy.relay.log import events
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.relay.log.redact import LOGGER, WORKER, Size, where_raised
from p2p_copy.relay.server import certificates_of, site_of
from p2p_copy.relay.snapshot import Snapshot
from p2p_copy.relay.tally import Counts, Tally
from p2p_copy.relay.workers.hints import first_byte_of_room
from p2p_copy.relay.workers.worker import config_for_worker
from p2p_copy.relay.workers.worker_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from os import PathLike

    from p2p_copy.relay.access.admission import Client
    from p2p_copy.relay.access.rates import PairingLimits
    from p2p_copy.relay.config import RelayConfig
    from p2p_copy.relay.entry.certificates import Certificates
    from p2p_copy.relay.log.abuse import AbuseCounter
    from p2p_copy.transport.tcp import TCPStream


async def prepared(config: RelayConfig, workers: int, command: Sequence[str]) -> Supervisor:
    """Return a supervisor that has read its files, as `server.prepared` does."""
    return await FileThread().run("Certificate, key, tokens or page", Supervisor, config, workers, command)


class Supervisor:
    """A relay of several processes: `run` it once. It ends when it is cancelled, or some time after `drain` or `stop`.

    Attributes:
        tally: counts what happens in this process.
        certificates: the certificate as this process has read it; None without TLS.
        gatekeeper: decides for the whole relay which clients come in.
        urls: where the relay listens, as soon as it does.

    """

    def __init__(self, config: RelayConfig, workers: int, command: Sequence[str]) -> None:
        """Prepare a relay of so many workers, and read its files.

        Args:
            config: its configuration.
            workers: how many.
            command: starts a worker; the number of a descriptor is added.

        Raises:
            CannotListen: certificate and key, the file of tokens, or the files of the page cannot be used.
            UsageError: a trusted proxy is no network, or an origin none.

        """
        self.tally = Tally()
        self.certificates: Certificates | None = certificates_of(config, self.tally.abuse)
        site_of(config)  # the workers read the page for themselves; what is wrong with it is said here
        self.gatekeeper = _WholeGatekeeper(config, self.tally.abuse, workers, self._evict)
        self.urls: list[str] = []
        self._command = command
        self._places = [_Place() for _ in range(workers)]
        self._processes: set[WorkerProcess] = set()
        self._numbers = itertools.count(1)
        self._clients = itertools.count(1)
        self._copiers: dict[int, WorkerProcess] = {}  # for each client without a hint, who speaks TLS with it
        self._at: dict[Client, WorkerProcess] = {}
        self._claims: dict[str, Client] = {}
        self._shared: dict[int, PairingLimits | None] = {}  # by the number of the pairing
        self._died = 0
        self._reloads = 0
        self._past = Snapshot()  # of workers that have ended
        self._accepting = trio.CancelScope()
        self._upgrading = trio.Lock()
        self._stopping = False
        if self.certificates is not None:
            self.certificates.on_changed = self._reload_workers

    # --- Running ---

    async def run(
        self, *, task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve. Reports the addresses and ports where the relay listens, once all workers are ready.

        Raises:
            CannotListen: an address cannot be had, or a worker cannot be started.

        """
        listeners = await listen(self.config.places)
        self.urls = list(dict.fromkeys(one.url(tls=self.certificates is not None) for one in listeners))
        self.tally.begin()
        try:
            async with trio.open_nursery() as own:
                self._nursery = own
                own.start_soon(self._check)
                if self.certificates is not None:
                    own.start_soon(partial(self.certificates.watch, files=self.config.watch_certificates))
                async with trio.open_nursery() as self._living:  # until the last worker has ended
                    await self._start_all()
                    task_status.started([one.sockname for one in listeners if one.sockname])
                    async with trio.open_nursery() as connections:
                        with self._accepting:
                            await trio.serve_listeners(self._handle, listeners, handler_nursery=connections)
                        connections.cancel_scope.cancel()  # those that no worker has yet
                own.cancel_scope.cancel()
        finally:
            past = self._past
            events.STOPPED.log(
                served=past.served, copied=Size(past.received.total()), seconds=round(self.tally.seconds)
            )
            for listener in listeners:
                await trio.aclose_forcefully(listener)

    async def _start_all(self) -> None:
        reasons: list[str] = []

        async def start(place: int) -> None:
            if why := await self._start(place):
                reasons.append(why)
                starts.cancel_scope.cancel()

        async with trio.open_nursery() as starts:
            for place in range(len(self._places)):
                starts.start_soon(start, place)
        if reasons:
            raise CannotListen(f"A worker of the relay could not be started: {reasons[0]}.")

    async def _start(self, place: int) -> str:
        """Start a worker, and give it the place when it is ready; return why that failed, in words."""
        ended: list[str] = []
        reloads = self._reloads
        process = WorkerProcess(next(self._numbers), place, self._empty)
        process.channel.hear(*self._orders(process))
        self._processes.add(process)
        self._divide_memory()

        async def run(done: trio.CancelScope) -> None:
            ended.append(await self._run(process))
            done.cancel()

        with trio.move_on_after(limits.WORKER_START) as starting:
            self._living.start_soon(run, starting)
            await process.ready.wait()
        if not process.ready.is_set():
            process.stop(0)
            process.kill()
            return ended[0] if ended else f"it was not ready in {limits.WORKER_START:.0f} s"
        former = self._places[place].put(process)
        if former is not None:
            former.drain(limits.WORKER_RETIREMENT)
        if self._stopping or self.draining:
            process.drain(0)
        self._divide_memory()
        if reloads != self._reloads:  # while it read the files
            self._nursery.start_soon(process.ask, "reload")
        if self.certificates is not None and self.certificates.challenge is not None:
            # It may have read the former one, or none if that was gone.
            self._nursery.start_soon(self._show_certificate, process)
        self._log(process, events.WORKER_STARTED, pid=process.pid)
        return ""

    async def _run(self, process: WorkerProcess) -> str:
        """Run a worker to its end; return how it ended. If it should not have, start another one."""
        try:
            how = await process.run(
                self._command,
                {
                    "place": process.place,
                    "workers": len(self._places),
                    "config": config_for_worker(self.config, self._share()),
                    "log_level": LOGGER.getEffectiveLevel() if LOGGER.level else logging.INFO,
                },
            )
        except OSError as error:
            how = str(error.strerror)
        finally:
            self._forget(process)
        place = self._places[process.place]
        if not process.ready.is_set():
            return how
        if process.ending:
            last = process.last
            self._log(process, events.WORKER_ENDED, served=last.served, copied=Size(last.received.total()))
        else:
            self._died += 1
            seconds = place.pause(trio.current_time())
            self._log(process, events.WORKER_DIED, how=how, seconds=round(seconds), clients=process.lost)
            self._nursery.start_soon(self._restart, process.place, seconds)
        return how

    def _empty(self, process: WorkerProcess) -> None:
        """Pass no more connections on to a worker that is gone."""
        place = self._places[process.place]
        if place.current is process:
            place.empty()

    def _forget(self, process: WorkerProcess) -> None:
        """Let the clients of a worker that has ended leave, and keep what it has counted."""
        self._processes.discard(process)
        for number, connection in process.untaken.items():
            client = process.clients.get(number)
            if client is not None and _is_unread(connection):
                del process.clients[number]
                self._at.pop(client, None)
                self._nursery.start_soon(self._pass_to, process.place, client, connection.detach())
            connection.close()
        process.lost = len(process.clients)
        for number in list(process.clients):
            self._leave(process, number)
        self._past.add(process.last.past())
        self._divide_memory()

    async def _restart(self, place: int, seconds: float) -> None:
        await trio.sleep(seconds)
        while not self.draining and (why := await self._start(place)):
            seconds = self._places[place].pause(trio.current_time())
            events.WORKER_DIED.log((), how=why, seconds=round(seconds), clients=0)
            await trio.sleep(seconds)

    async def _check(self) -> None:
        while True:
            await trio.sleep(limits.WORKER_REPORT_INTERVAL)
            now = trio.current_time()
            for process in tuple(self._processes):
                process.check(now)

    # --- Connections ---

    async def _handle(self, stream: TCPStream) -> None:
        """Admit one connection, and pass it on. Trio closes what is left of the stream when this returns."""
        client = self.gatekeeper.admit(stream)
        if client is None:
            return
        passed = False
        try:
            began = trio.current_time()
            with self.gatekeeper.arrivals.limit(client.budget, client) as arrived:
                if await self.gatekeeper.read_proxy(client, stream) and not await self._is_authority(stream):
                    byte = await first_byte_of_room(stream)
                    process = await self._places[(byte or 0) % len(self._places)].process()
                    arrived()
                    client.budget = max(client.budget - (trio.current_time() - began), 0)
                    trio.lowlevel.notify_closing(stream.socket)
                    passed = self._pass(process, client, stream.socket.detach())
        except (trio.BrokenResourceError, OSError) as error:
            events.GONE_EARLY.log(error=type(error).__name__)
        except Exception as error:
            events.BUG.log(where=where_raised(error))
        finally:
            if not passed:
                self.gatekeeper.leave(client)
                self.tally.handshakes_failed += 1

    async def _is_authority(self, stream: TCPStream) -> bool:
        """Answer an authority that checks the relay's name: this process has ordered. Return False for a client."""
        challenge = self.certificates.challenge if self.certificates is not None else None
        return challenge is not None and bool(challenge) and await challenge.answer(stream)

    def _pass(self, process: WorkerProcess, client: Client, descriptor: int) -> bool:
        """Pass a connection on to a worker, for which it counts from now on."""
        client.throttle.close()
        number = client.number = client.number or next(self._clients)
        process.clients[number] = client
        process.keep(number, descriptor)
        self._at[client] = process
        process.channel.tell(
            "client",
            descriptor=descriptor,
            number=number,
            budget=client.budget,
            is_proxy=client.is_proxy,
            is_decrypted=client.is_decrypted,
            address=client.address,
        )
        return True

    def _leave(self, process: WorkerProcess, number: int) -> None:
        client = process.clients.pop(number, None)
        process.release(number)
        if client is None:
            return
        self._at.pop(client, None)
        if client.claim is not None and self._claims.get(client.claim) is client:
            del self._claims[client.claim]
        self._shared.pop(number, None)
        self.gatekeeper.leave(client)
        if (copier := self._copiers.pop(number, None)) is not None:
            copier.channel.tell("gone", number=number)

    def _evict(self, client: Client) -> None:
        if (process := self._at.get(client)) is not None:
            process.channel.tell("evict", number=client.number)

    # --- What workers say and ask ---

    def _orders(self, process: WorkerProcess) -> tuple[dict[str, Any], dict[str, Any]]:
        tells = {
            "left": partial(self._leave, process),
            "pass": partial(self._pass_again, process),
            "unspent": self._take_back,
        }
        answers = {
            "forwarded": partial(self._count_forwarded, process),
            "hello": partial(self._answer_hello, process),
            "spend": partial(self._spend, process),
            "pay": partial(self._pay, process),
        }
        return tells, answers

    def _pass_again(self, process: WorkerProcess, number: int, place: int, descriptor: int | None) -> None:
        """Pass on what a worker has decrypted for another one."""
        client = process.clients.pop(number, None)
        if client is None or descriptor is None:
            if descriptor is not None:
                os.close(descriptor)
            if client is not None:
                process.clients[number] = client
                self._leave(process, number)
            return
        self._at.pop(client, None)
        client.is_decrypted = True
        self._copiers[number] = process
        self._nursery.start_soon(self._pass_to, place, client, descriptor)

    async def _pass_to(self, place: int, client: Client, descriptor: int) -> None:
        """Pass a client on to the worker at a place, as soon as there is one in the client's time."""
        began = trio.current_time()
        try:
            with trio.move_on_after(client.budget):
                process = await self._places[place].process()
                if not client.gone:
                    client.budget = max(client.budget - (trio.current_time() - began), 0)
                    self._pass(process, client, descriptor)
                    return
                self.tally.abuse.count(Abuse.EVICTED)  # no worker had it any more, or had it yet
            os.close(descriptor)
            self._copiers.pop(client.number or 0, None)
            self.gatekeeper.leave(client)
        except trio.Cancelled:  # the relay has ended
            os.close(descriptor)
            raise

    async def _count_forwarded(
        self, process: WorkerProcess, number: int, values: list[str]
    ) -> dict[str, Any]:
        client = process.clients.get(number)
        admitted = client is not None and await self.gatekeeper.read_forwarded(client, values)
        return {"admitted": admitted, "address": client.address if client else None}

    async def _answer_hello(
        self,
        process: WorkerProcess,
        *,
        number: int,
        token: str | None,
        features: list[str],
        claim: str | None,
        is_first: bool,
        dials_again: bool,
    ) -> dict[str, Any]:
        client = process.clients.get(number)
        if client is None:
            return {"answer": encode(NO_PLACE)}
        hello = Hello(Role.SENDER, token=token, features=tuple(features), claim=claim)
        answer = await self.gatekeeper.answer_hello(
            client,
            hello,
            waiting=sum(each.waiting for each in self._processes),
            is_first=is_first,
            dials_again=dials_again,
        )
        if isinstance(answer, Refused):
            return {"answer": encode(answer)}
        if is_first:
            process.waiting += 1  # until its next report
        self._move_claim(process, client, hello)
        return {"answer": encode(answer), "has_account": client.account is not None}

    def _move_claim(self, process: WorkerProcess, client: Client, hello: Hello) -> None:
        """Free the place that a client has in a room of another worker, now that it has come to this one."""
        if hello.claim is None:
            return
        former = self._claims.get(hello.claim)
        at = None if former is None else self._at.get(former)
        if at is not None and at is not process and STILL_WAITING not in hello.features:
            at.channel.tell("vacate", claim=hello.claim)
        client.claim = hello.claim
        self._claims[hello.claim] = client

    def _limits_of(self, process: WorkerProcess, pair: list[int]) -> PairingLimits | None:
        """Return the limits of two clients' pairing that it shares with pairings of other workers."""
        if pair[0] not in self._shared:
            one, other = (process.clients.get(number) for number in pair)
            if one is None or other is None:
                return None
            self._shared[pair[0]] = self.gatekeeper.pairing_limits(one, other, only_shared=True)
        return self._shared[pair[0]]

    async def _spend(self, process: WorkerProcess, pair: list[int], size: int) -> int:
        """Take at least `size` bytes off the quotas of a pairing; return how many were taken, 0 if they have less."""
        shared = self._limits_of(process, pair)
        if shared is None:
            return size
        most = limits.QUOTA_SLICE
        slice_ = max(size, most) if shared.left >= limits.QUOTA_NEAR * most else size
        return slice_ if await shared.spend(slice_) else 0

    async def _pay(self, process: WorkerProcess, pair: list[int], size: int) -> float | None:
        """Wait until `size` bytes are within the shared rates; return how many to owe before the next question."""
        shared = self._limits_of(process, pair)
        if shared is None or shared.least_rate == math.inf:
            return None
        await shared.pay(size)
        return max(limits.RATE_GRAIN, shared.least_rate * limits.SHARED_RATE_GRAIN)

    def _take_back(self, pair: list[int], size: int) -> None:
        shared = self._shared.get(pair[0])
        if shared is not None:
            shared.give_back(size)

    # --- Orders for the whole relay ---

    def drain(self, seconds: float) -> None:
        """Take no more clients, refuse those that wait, and stop when the last pairing is over; see `Relay.drain`."""
        if not self.draining:
            running = sum(process.last.running for process in self._processes)
            events.STOPPING.log((), seconds=round(seconds), pairings=running)
        self._accepting.cancel()
        for process in self._processes:
            process.drain(seconds)

    def stop(self, within: float) -> None:
        """End everything now: tell every client, and cut those that have not left `within` seconds. Returns at once."""
        self._stopping = True
        self._accepting.cancel()
        for process in self._processes:
            process.stop(within)

    async def reload(self) -> bool:
        """Read certificate, key and tokens again, in all processes; return False if one cannot be used."""
        self._reloads += 1
        results: list[bool] = []

        async def collect(reload: Callable[[], Awaitable[Any]]) -> None:
            results.append(bool(await reload()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, self.gatekeeper.reload)
            if self.certificates is not None:
                nursery.start_soon(collect, self.certificates.reload)
                for process in self._ready:
                    nursery.start_soon(collect, partial(process.ask, "reload"))
        return all(results)

    async def use_certificate(self, certfile: str | PathLike[str], keyfile: str | PathLike[str]) -> bool:
        """Use the certificate in these files, in all processes; see `Relay.use_certificate`.

        It is good once this process has used it. A worker that cannot use it logs why, and is asked again.
        """
        assert self.certificates is not None, "nobody orders for a relay without TLS"
        files = os.fspath(certfile), os.fspath(keyfile)
        if not await self.certificates.use(*files):
            return False
        self.change(replace(self.config, certfile=files[0], keyfile=files[1]))
        async with trio.open_nursery() as nursery:
            for process in self._ready:
                nursery.start_soon(self._show_certificate, process)
        return True

    async def _show_certificate(self, process: WorkerProcess, after: float = 0) -> None:
        """Let a worker use the certificate of this process, if there is one, `after` some seconds.

        A worker that cannot read it, or does not answer in time, would show the former one until that has expired. It
        is asked again later.
        """
        await trio.sleep(after)
        if (certfile := self.config.certfile) is None or process not in self._processes:
            return
        if not await process.ask("certificate", certfile=str(certfile), keyfile=str(self.config.keyfile)):
            self._nursery.start_soon(self._show_certificate, process, limits.CERTIFICATE_CHECK_INTERVAL)

    def _reload_workers(self) -> None:
        self._reloads += 1
        for process in self._ready:
            self._nursery.start_soon(process.ask, "reload")

    async def upgrade(self) -> bool:
        """Replace each worker by a new one, from the program as it is on the disk now; return whether that worked.

        The old ones take no more clients, and end with their last pairings. It goes on if the caller is cancelled.
        """
        reasons: list[str] = []
        done = trio.Event()

        async def start(place: int) -> None:
            if why := await self._start(place):
                reasons.append(why)

        async def replace_all() -> None:
            async with self._upgrading, trio.open_nursery() as starts:
                for place in range(len(self._places)):
                    starts.start_soon(start, place)
            if reasons:
                events.WORKERS_KEPT.log((), why=reasons[0])
            done.set()

        if self.draining:
            return False
        self._nursery.start_soon(replace_all)
        await done.wait()
        return not reasons

    def change(self, config: RelayConfig) -> None:
        """Use the limits of another configuration from now on. Files, and where the relay listens, do not change."""
        self.gatekeeper.change(config)
        self._divide_memory()

    def _share(self) -> int:
        return self.config.max_memory // max(len(self._processes), len(self._places))

    def _divide_memory(self) -> None:
        """Tell all workers their part of the memory, and the other limits."""
        for process in self._ready:
            process.channel.tell("change", config=config_for_worker(self.config, self._share()))

    async def snapshot(self) -> Snapshot:
        """Return what all processes have counted; of a worker that does not answer in time, what it has said last."""
        found: list[Snapshot] = []

        async def ask(process: WorkerProcess) -> None:
            answer = await process.ask("snapshot")
            found.append(process.last if answer is None else Snapshot.of(answer))

        async with trio.open_nursery() as nursery:
            for process in self._ready:
                nursery.start_soon(ask, process)
        return self._sum(found)

    def _sum(self, found: list[Snapshot]) -> Snapshot:
        whole = Snapshot(
            tasks=trio.lowlevel.current_statistics().tasks_living,
            handshakes_failed=self.tally.handshakes_failed,
            abuse=self.tally.abuse.counts.copy(),
            workers=len(self._ready),
            workers_died=self._died,
        )
        for each in (self._past, *found):
            whole.add(each)
        whole.connections, whole.memory_limit = self.gatekeeper.places, self.config.max_memory
        return whole

    async def end(self, number: int) -> bool:
        """End the pairing with this number; return False if there is none."""
        for process in tuple(self._processes):
            if number in process.clients:
                return bool(await process.ask("end", number=number))
        return False

    @property
    def _ready(self) -> list[WorkerProcess]:
        """The workers that serve, or have served and are ending."""
        return [process for process in self._processes if process.ready.is_set()]

    @property
    def config(self) -> RelayConfig:
        """The configuration as it is now; see `change`."""
        return self.gatekeeper.config

    @property
    def draining(self) -> bool:
        """Whether the relay takes no more clients."""
        return self._accepting.cancel_called

    @property
    def counts(self) -> Counts:
        """What the relay has done and is doing, by the workers' last reports."""
        whole = self._sum([process.last for process in self._processes])
        return Counts(whole.waiting, whole.running, whole.served, whole.received.total())

    def _log(self, process: WorkerProcess, event: events.Event, **facts: Any) -> None:
        token = WORKER.set(process.number)
        event.log((), **facts)
        WORKER.reset(token)


def _is_unread(connection: socket.socket) -> bool:
    """Return whether a connection is open and has still what its client has said first."""
    try:
        return bool(
            connection.recv(1, socket.MSG_PEEK)
        )  # it does not wait, as the one of which it is a duplicate
    except OSError:
        return False


class _Place:
    """One of the workers' places, which has its rooms whatever process is there."""

    def __init__(self) -> None:
        self.current: WorkerProcess | None = None
        self._changed = trio.Event()
        self._since = -math.inf
        self._died_early = 0

    def put(self, process: WorkerProcess) -> WorkerProcess | None:
        """Give the place to a worker; return the one that had it."""
        former, self.current = self.current, process
        self._since = trio.current_time()
        self._changed.set()
        return former

    def empty(self) -> None:
        self.current = None
        self._changed = trio.Event()

    async def process(self) -> WorkerProcess:
        """Return the worker, once there is one."""
        while self.current is None:
            await self._changed.wait()
        return self.current

    def pause(self, now: float) -> float:
        """Return for how many seconds to leave the place empty after a worker has died, or could not be started."""
        if now - self._since >= limits.WORKER_SETTLED:
            self._died_early = 0
        pause = limits.WORKER_PAUSES[min(self._died_early, len(limits.WORKER_PAUSES) - 1)]
        self._died_early += 1
        return pause


class _WholeGatekeeper(Gatekeeper):
    """The gatekeeper of all workers."""

    def __init__(
        self,
        config: RelayConfig,
        abuse: AbuseCounter,
        workers: int,
        evict_elsewhere: Callable[[Client], None],
    ) -> None:
        super().__init__(config, abuse, processes=workers)
        self.arrivals = _WholeArrivals(abuse, evict_elsewhere)


class _WholeArrivals(ArrivalDeadlines):
    """The deadlines of connections that no worker has yet; others are evicted where they are."""

    def __init__(self, abuse: AbuseCounter, evict_elsewhere: Callable[[Client], None]) -> None:
        super().__init__(abuse)
        self._evict_elsewhere = evict_elsewhere

    def evict(self, client: Client) -> None:
        super().evict(client)
        self._evict_elsewhere(client)
