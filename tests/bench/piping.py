"""piping-server with curl: what passing alone costs. It neither encrypts nor checks, and keeps nothing to resume."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.bench.contestants import Relayed
from tests.bench.runs import HOST, Failed, variables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.bench.runs import Run

PLACE = "transfer"
"""Where sender and receiver meet."""


class Piping(Relayed):
    """One file through a piping-server; curl sends and receives.

    Raises:
        Failed: there is no curl here.

    """

    name = "piping-server"

    def __init__(self, server: str) -> None:
        self._server = server
        self.env = variables()
        if (curl := shutil.which("curl")) is None:
            raise Failed("there is no curl here")
        self.program = curl

    def copy(self, source: Path, outs: Sequence[Path], folder: Path, *, receiver_waits: bool = False) -> Run:
        if not source.is_file() or len(outs) > 1:
            raise Failed("it passes one file")
        return super().copy(
            source, [out / source.name for out in outs], folder, receiver_waits=receiver_waits
        )

    def servers(self, *ports: int) -> list[Sequence[str]]:
        return [(self._server, "--host", HOST, "--http-port", str(ports[0]))]

    def send(self, ports: Sequence[int], number: int, source: Path) -> Sequence[str]:
        return "-sSf", "-T", str(source), f"http://{HOST}:{ports[0]}/{PLACE}"

    def receive(self, ports: Sequence[int], number: int, out: Path) -> Sequence[str]:
        return "-sSf", "-o", str(out), f"http://{HOST}:{ports[0]}/{PLACE}"
