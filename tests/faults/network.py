"""A relay in a network of its own, which two roads lead to: a good one, and one on which the weather is ours.

Every packet on the bad road passes a thread of this process, which loses, delays, repeats or damages it. That needs
root, iproute2 and a TUN device, and nothing special of the kernel; tests are skipped where these are not.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import shutil
import struct
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE: Final = f"p2p-faults-{os.getpid()}"
INSIDE: Final = ("ip", "netns", "exec", NAMESPACE)
"""What a command begins with that runs where the relay is."""

GOOD, BAD = "198.18.76", "198.18.77"
"""Networks for tests of networks (RFC 2544). We are .1 in both, the relay is .2."""

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
"""Of linux/if_tun.h."""

_PACKET: Final = 65536

QUEUE: Final = 0.3
"""Seconds that a packet waits at most on a slow road before it is dropped, as in the buffers of home routers."""


@dataclass(frozen=True)
class Weather:
    """What happens to packets: shares of one, and seconds on each way; `rate` is in bytes per second, 0 any."""

    loss: float = 0
    duplicate: float = 0
    corrupt: float = 0
    delay: float = 0
    jitter: float = 0
    rate: float = 0


class Road:
    """Two TUN devices with weather between them."""

    def __init__(self, *names: str) -> None:
        self.weather = Weather()
        self._dice = random.Random(28)
        self._ends = [_tun(name) for name in names]
        self._free_at = dict.fromkeys(self._ends, 0.0)
        self._stopped = False
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped = True
        self._thread.join()
        for end in self._ends:
            os.close(end)

    def _carry(self) -> None:
        under_way: list[tuple[float, int, int, bytes]] = []
        number = 0
        while not self._stopped:
            rest = max(0, under_way[0][0] - time.monotonic()) if under_way else 0.1
            for end in select.select(self._ends, (), (), min(rest, 0.1))[0]:
                with suppress(BlockingIOError):
                    packet, other = os.read(end, _PACKET), self._ends[end == self._ends[0]]
                    for copy, due in self._fate(packet, other):
                        number += 1
                        heapq.heappush(under_way, (due, number, other, copy))
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, other, packet = heapq.heappop(under_way)
                with suppress(OSError):  # the device is down, or its queue is full: lost
                    os.write(other, packet)

    def _fate(self, packet: bytes, way: int) -> Iterator[tuple[bytes, float]]:
        """Yield what comes of a packet on its way to one end, and when."""
        weather, dice = self.weather, self._dice
        for _ in range(1 + (dice.random() < weather.duplicate)):
            if dice.random() < weather.loss:
                continue
            if dice.random() < weather.corrupt:
                where = dice.randrange(len(packet))
                packet = (
                    packet[:where] + bytes([packet[where] ^ 1 << dice.randrange(8)]) + packet[where + 1 :]
                )
            due = time.monotonic()
            if weather.rate:
                starts = max(due, self._free_at[way])
                if starts - due > QUEUE:
                    continue
                due = self._free_at[way] = starts + len(packet) / weather.rate
            yield packet, due + weather.delay + dice.random() * weather.jitter


def _tun(name: str) -> int:
    try:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH14x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        pytest.skip(f"no TUN device can be made here: {error.strerror}")
    return device


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def bad_road() -> Iterator[Road]:
    """Make the network and its two roads, and remove them; yield the bad one."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root, and ip, for a network of its own")
    pid = os.getpid()
    good, bad = (f"pfg{pid}a", f"pfg{pid}b"), (f"pfb{pid}a", f"pfb{pid}b")
    with ExitStack() as stack:
        _run("ip", "netns", "add", NAMESPACE)
        stack.callback(_run, "ip", "netns", "del", NAMESPACE)  # and with it the good road
        _run("ip", "link", "add", good[0], "type", "veth", "peer", "name", good[1], "netns", NAMESPACE)
        road = Road(*bad)
        stack.callback(road.close)
        _run("ip", "link", "set", bad[1], "netns", NAMESPACE)
        for network, ends in ((GOOD, good), (BAD, bad)):
            for number, (where, end) in enumerate(zip(((), INSIDE), ends, strict=True), 1):
                _run(*where, "ip", "address", "add", f"{network}.{number}/24", "dev", end)
                _run(*where, "ip", "link", "set", end, "up")
        yield road
