"""The client for programs without an event loop."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Unpack

from p2p_copy.api.base import BaseClient
from p2p_copy.api.callers import BlockingCaller
from p2p_copy.api.transfer import TransferTask
from p2p_copy.api.transfer_thread import TransferThread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike
    from types import TracebackType
    from typing import Self

    from p2p_copy.api.keywords import ReceiveKeywords, ResumeKeywords, SendKeywords
    from p2p_copy.api.report import Report
    from p2p_copy.api.saved import SavedTransfer
    from p2p_copy.api.transfer import OnEvent
    from p2p_copy.api.work import Accept, AcceptDeletion, AcceptReplacement, Out, Paths, Verify
    from p2p_copy.protocol.code import Code


class Client(BaseClient):
    """Sends and receives through one relay, and blocks meanwhile; from several threads at once, too.

        report = p2p.Client(relay="wss://relay.example").send("results", code=code)
        report.raise_for_failures()

    Each call blocks its thread and runs callbacks there; the transfer runs in another thread, which ends with the call,
    or, in a `with` block, with the block. Ctrl-C ends the transfer cleanly before KeyboardInterrupt is raised. For what
    becomes of a transfer that ends early see `AsyncClient`.
    """

    _thread: TransferThread | None = None

    def __enter__(self) -> Self:
        self._thread = TransferThread()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        thread, self._thread = self._thread, None
        assert thread is not None, "it was entered"
        thread.stop()
        thread.join()

    def send(
        self,
        paths: Paths,
        *,
        code: Code,
        verify: Verify | None = None,
        on_event: OnEvent | None = None,
        **options: Unpack[SendKeywords],
    ) -> Report:
        """Send files and directories; see `AsyncClient.send`. Callbacks may not be asynchronous."""
        with self._open_caller() as caller:
            work = self._settings.send(paths, code, verify, options, caller)
            return caller.run(TransferTask(work, caller, on_event).run)

    def receive(
        self,
        out: Out,
        *,
        code: Code,
        accept: Accept | None = None,
        verify: Verify | None = None,
        accept_deletion: AcceptDeletion | None = None,
        accept_replacement: AcceptReplacement | None = None,
        on_event: OnEvent | None = None,
        **options: Unpack[ReceiveKeywords],
    ) -> Report:
        """Receive into a directory; see `AsyncClient.receive`. Callbacks may not be asynchronous."""
        with self._open_caller() as caller:
            work = self._settings.receive(
                out, code, accept, verify, accept_deletion, accept_replacement, options, caller
            )
            return caller.run(TransferTask(work, caller, on_event).run)

    def resume(
        self,
        id: str,  # noqa: A002
        *,
        code: Code | None = None,
        accept: Accept | None = None,
        verify: Verify | None = None,
        accept_deletion: AcceptDeletion | None = None,
        accept_replacement: AcceptReplacement | None = None,
        on_event: OnEvent | None = None,
        **options: Unpack[ResumeKeywords],
    ) -> Report:
        """Resume a saved transfer; see `AsyncClient.resume`. Callbacks may not be asynchronous."""
        with self._open_caller() as caller:
            work = self._settings.resume(
                id, code, accept, verify, accept_deletion, accept_replacement, options, caller
            )
            return caller.run(TransferTask(work, caller, on_event).run)

    def saved(self, *, code: Code | None = None) -> tuple[SavedTransfer, ...]:
        """Return the saved transfers; see `AsyncClient.saved`."""
        return self._settings.saved_transfers().all(code)

    def save_send(
        self,
        paths: Paths,
        *,
        code: Code | None = None,
        words: int | None = None,
        verify: bool = False,
        **options: Unpack[SendKeywords],
    ) -> SavedTransfer:
        """Save a transfer without beginning it; see `AsyncClient.save_send`."""
        return self._settings.save_send(paths, code, words, verify, options)

    def save_receive(
        self,
        out: str | PathLike[str],
        *,
        code: Code,
        verify: bool = False,
        **options: Unpack[ReceiveKeywords],
    ) -> SavedTransfer:
        """Save a transfer without beginning it; see `AsyncClient.save_receive`."""
        return self._settings.save_receive(out, code, verify, options)

    def forget(self, id: str) -> None:  # noqa: A002
        """Forget a saved transfer, and remove its partial files; see `AsyncClient.forget`."""
        self._settings.saved_transfers().forget(id)

    @contextmanager
    def _open_caller(self) -> Iterator[BlockingCaller]:
        """Let one call of the program use the client's thread, or one of its own."""
        if self._thread is not None:
            yield BlockingCaller(self._thread)
            return
        thread = TransferThread()
        try:
            yield BlockingCaller(thread)
        finally:
            thread.stop()
            thread.join()
