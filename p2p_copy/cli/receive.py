"""`p2p-copy receive`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.cli import sources
from p2p_copy.cli.progress import Progress
from p2p_copy.cli.run import run_transfer
from p2p_copy.cli.terminal import Terminal
from p2p_copy.cli.words import receive_words
from p2p_copy.errors import PartialTransfer
from p2p_copy.protocol import code as codes
from p2p_copy.receiver import receive as receive_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.cli.app import ClientOptions
    from p2p_copy.observe import Report
    from p2p_copy.options import Conflict, Names


def receive(
    words: Sequence[str],
    options: ClientOptions,
    *,
    out: str,
    conflict: Conflict,
    names: Names,
    max_size: int | None,
) -> int:
    """Receive into `out` and return exit code 0.

    Raises:
        PartialTransfer: not everything arrived.
        P2PCopyError: nothing, or nothing more, arrived.

    """
    terminal = Terminal.standard(quiet=options.quiet)
    word = receive_words(words)
    relay = sources.relay_of(word.relay, options.server)
    text = sources.written_code(word.code, options.code, options.code_file)
    code = sources.ask_for_code(terminal) if text is None else codes.parse(text)
    token = sources.access_token(options.token_file)
    progress = Progress(terminal, verb="Received")

    async def story() -> Report:
        return await receive_files(
            out,
            relay=relay,
            code=code,
            conflict=conflict,
            names=names,
            max_size=max_size,
            wait=options.wait,
            ca_file=options.ca_file,
            token=token,
            observer=progress,
        )

    report = run_transfer(story, progress)
    progress.done(report)
    if report.failures:
        raise PartialTransfer()
    return 0
