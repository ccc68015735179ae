"""`p2p-copy demo`: one whole transfer in real processes, to show how p2p-copy works and that it works here.

It starts a relay at a free port of the loopback, a sender and a receiver. These two get a code through the environment,
as users should do it where others can read the list of processes. The copy is compared with the original name by name
and byte by byte, and removed.
"""

from __future__ import annotations

import filecmp
import os
import re
import shlex
import subprocess
import sys
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

import p2p_copy
from p2p_copy.cli.options.client import CODE_VARIABLE, SERVER_VARIABLE, TOKEN_VARIABLE
from p2p_copy.cli.options.config_file import CONFIG_VARIABLE
from p2p_copy.cli.run import run
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import P2PCopyError, UsageError
from p2p_copy.units import amount, count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_WAIT: Final = "60"
_RELAY_LINE: Final = re.compile(r"Relay listening on (ws://\S+)")


class DemoFailed(P2PCopyError):
    """The demo failed. The output of its processes above says why."""


def demo(directory: str | None) -> int:
    """Copy `directory`, or this package, through three processes; return exit code 0.

    Raises:
        UsageError: it is no directory, or contains the temporary directory.
        DemoFailed: a process failed, or the copy differs.

    """
    # By default this copies the running program, which must not write compiled files in there meanwhile.
    sys.dont_write_bytecode = True
    source = os.path.abspath(directory or next(iter(p2p_copy.__path__)))
    if not os.path.isdir(source):
        raise UsageError("The demo copies a directory, and there is no directory of that name.")
    terminal = Terminal.standard()
    with tempfile.TemporaryDirectory(prefix="p2p-copy-demo-") as out:
        if os.path.realpath(out).startswith(os.path.join(os.path.realpath(source), "")):
            raise UsageError("The demo cannot copy a directory that contains the temporary directory.")
        run(partial(_transfer, source, out, terminal))
        terminal.say("3. Compare the copy with the original, byte by byte.")
        files, size = _compare(source, os.path.join(out, os.path.basename(source)))
        terminal.say(f"4. Remove the copy in {out}")
    terminal.result(f"It works: {count(files, 'file')}, {amount(size)}, copied and compared: all is equal.")
    return 0


async def _transfer(source: str, out: str, terminal: Terminal) -> None:
    code = p2p_copy.Code.generate().text
    async with trio.open_nursery() as nursery:
        terminal.say("1. Start a relay.")
        relay = await nursery.start(_run_relay, terminal)
        terminal.say(f"2. Start a sender and a receiver. Both get the same new code through {CODE_VARIABLE}.")
        async with trio.open_nursery() as clients:
            send = ["send", source, "--server", relay, "--wait", _WAIT]
            receive = ["receive", "--out", out, "--server", relay, "--wait", _WAIT]
            clients.start_soon(_run_client, "sender", send, code, terminal)
            clients.start_soon(_run_client, "receiver", receive, code, terminal)
        nursery.cancel_scope.cancel()


async def _run_relay(
    terminal: Terminal, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a relay until cancelled; its URL is the value of `task_status`."""

    def show(line: str) -> None:
        terminal.say(f"   relay: {line}")
        if match := _RELAY_LINE.search(line):
            task_status.started(match[1])

    words = ["run-relay-server", "127.0.0.1:0", "--no-tls"]
    async with trio.open_nursery() as nursery:
        await _each_line(await nursery.start(_start, words, "", terminal), show)
    raise DemoFailed()


async def _run_client(name: str, words: Sequence[str], code: str, terminal: Terminal) -> None:
    async with trio.open_nursery() as nursery:
        process = await nursery.start(_start, words, code, terminal)
        await _each_line(process, lambda line: terminal.say(f"   {name}: {line}"))
    if process.returncode:
        raise DemoFailed(f"The {name} ended with exit code {process.returncode}; its output above says why.")


async def _start(
    words: Sequence[str],
    code: str,
    terminal: Terminal,
    *,
    task_status: trio.TaskStatus[trio.Process] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run p2p-copy with these words until it ends or this is cancelled."""
    terminal.say(f"   $ p2p-copy {shlex.join(words)}")
    # -P: Python must not import modules from the current directory, which others may be able to write to.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in (SERVER_VARIABLE, CODE_VARIABLE, TOKEN_VARIABLE)
    }
    environment |= {CONFIG_VARIABLE: os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}
    if code:
        environment[CODE_VARIABLE] = code
    await trio.run_process(
        [sys.executable, "-P", "-m", "p2p_copy", *words],
        stdin=b"",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        check=False,
        task_status=task_status,
    )


async def _each_line(process: trio.Process, show: Callable[[str], None]) -> None:
    assert process.stdout is not None, "it was started with a pipe"
    rest = b""
    async for data in process.stdout:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            show(line.decode(errors="backslashreplace").rstrip())


def _compare(source: str, copy: str) -> tuple[int, int]:
    """Return the number of files below `source` and their bytes.

    Raises:
        DemoFailed: the two trees differ.

    """
    originals, copies = set(_names(source)), set(_names(copy))
    if originals != copies:
        raise DemoFailed(f"Only one side has {count(len(originals ^ copies), 'name')}.")
    size = files = 0
    for name in sorted(originals):
        original, copied = os.path.join(source, name), os.path.join(copy, name)
        if os.path.islink(original):
            same = os.path.islink(copied) and os.readlink(original) == os.readlink(copied)
        elif os.path.isdir(original):
            same = os.path.isdir(copied)
        else:
            same = filecmp.cmp(original, copied, shallow=False)
            files += 1
            size += os.path.getsize(original)
        if not same:
            raise DemoFailed(f"{name!r} differs from its original.")
    return files, size


def _names(top: str) -> Iterator[str]:
    for directory, directories, files in os.walk(top):
        for name in directories + files:
            yield os.path.relpath(os.path.join(directory, name), top)
