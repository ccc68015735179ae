"""A contestant that shows the highest speed possible: three processes that do only the necessary (`bare_process`)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.bench import bare_process
from tests.bench.contestants import Relayed
from tests.bench.runs import Failed, variables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.bench.runs import Run
    from tests.support.certificates import Certificates


class Bare(Relayed):
    """Copies one file with `bare_process`."""

    name = "bare"

    def __init__(self, certificates: Certificates | None = None) -> None:
        self.program = sys.executable
        self.env = variables()
        self._size = 0
        self._server = [certificates.certificate, certificates.key] if certificates else []
        self._client = [certificates.authority] if certificates else []

    def copy(self, source: Path, outs: Sequence[Path], folder: Path, *, receiver_waits: bool = False) -> Run:
        if not source.is_file() or len(outs) > 1:
            raise Failed("it copies one file")
        self._size = source.stat().st_size
        return super().copy(
            source, [out / source.name for out in outs], folder, receiver_waits=receiver_waits
        )

    def servers(self, *ports: int) -> list[Sequence[str]]:
        return [(self.program, bare_process.__file__, "relay", str(ports[0]), *self._server)]

    def send(self, ports: Sequence[int], number: int, source: Path) -> Sequence[str]:
        return bare_process.__file__, "send", str(ports[0]), str(source), *self._client

    def receive(self, ports: Sequence[int], number: int, out: Path) -> Sequence[str]:
        return bare_process.__file__, "receive", str(ports[0]), str(out), str(self._size), *self._client
