"""`p2p-copy send`, with a relay of its own if there is no other."""

from __future__ import annotations

import secrets
import shlex
from typing import TYPE_CHECKING

from p2p_copy import limits
from p2p_copy.cli import sources
from p2p_copy.cli.progress import Progress
from p2p_copy.cli.run import run_transfer
from p2p_copy.cli.terminal import Terminal
from p2p_copy.cli.words import SERVE_AUTO, host_port, send_words
from p2p_copy.errors import PartialTransfer, UsageError
from p2p_copy.protocol import code as codes
from p2p_copy.sender import send as send_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.cli.app import ClientOptions
    from p2p_copy.observe import Report
    from p2p_copy.options import Links
    from p2p_copy.protocol.code import Code


def send(words: Sequence[str], options: ClientOptions, *, serve: str | None, links: Links) -> int:
    """Send and return exit code 0.

    Raises:
        PartialTransfer: not everything was delivered.
        P2PCopyError: nothing, or nothing more, was delivered.

    """
    terminal = Terminal.standard(quiet=options.quiet)
    word = send_words(words)
    if serve and word.relay:
        raise UsageError("With --serve this side is the relay itself. Leave out the relay's URL, or --serve.")
    binds = _binds(serve) if serve else []
    relay = "" if serve else sources.relay_of(word.relay, options.server)
    text = sources.written_code(word.code, options.code, options.code_file)
    code = codes.generate(secrets.randbelow) if text is None else codes.choose(text)
    token = None if serve else sources.access_token(options.token_file)
    progress = Progress(terminal, verb="Sent")

    async def through(address: str, seen_as: str) -> Report:
        progress.announce(_announcement(code, seen_as, generated=text is None))
        return await send_files(
            word.paths,
            relay=address,
            code=code,
            links=links,
            wait=options.wait,
            ca_file=options.ca_file,
            token=token,
            observer=progress,
        )

    async def story() -> Report:
        if not binds:
            return await through(relay, relay)
        from p2p_copy.cli.embedded import embedded_relay  # all of the relay, which takes a while

        async with embedded_relay(binds) as (own, seen_as):
            return await through(own, seen_as)

    report = run_transfer(story, progress)
    progress.done(report)
    if report.failures:
        raise PartialTransfer()
    return 0


def _binds(serve: str) -> list[tuple[str, int]]:
    """Return host and port to listen at, in the order of preference; an empty host is all of IPv4."""
    if serve == SERVE_AUTO:
        return [("", limits.SERVE_PORT), ("", 0)]
    bind = host_port(serve)
    if bind is None:
        raise UsageError("--serve takes HOST:PORT, [IPV6]:PORT or :PORT, or nothing.")
    return [bind]


def _announcement(code: Code, relay: str, *, generated: bool) -> list[str]:
    """Return what the receiver's side must know. A code that its users chose is not shown."""
    command = ["p2p-copy", "receive", "--server", relay]
    if not generated:
        return [f"On the other machine: {shlex.join(command)}"]
    command.insert(2, code.text)
    return [f"Code: {code.text}", f"On the other machine: {shlex.join(command)}"]
