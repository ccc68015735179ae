"""Saved transfers, as a program sees them, and what a client does with them. All here is blocking access to files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal

from p2p_copy.errors import NotSaved, UsageError
from p2p_copy.files.state.facts import ReceiveCommand
from p2p_copy.files.state.store import Access, StateBusy, States, access_of_others, default_directory
from p2p_copy.files.state.transfers import belongs_to, check_private, open_transfer, same_command
from p2p_copy.options import STATE_VARIABLE, Conflict
from p2p_copy.protocol.code import Code
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.limits import CODE_WORDS
from p2p_copy.value import FrozenValue, replace

if TYPE_CHECKING:
    from p2p_copy.files.state.facts import Command, Facts
    from p2p_copy.files.state.store import State
    from p2p_copy.options import ReceiveOptions, SendOptions


_NOT_THERE: Final = "There is no saved transfer with that ID, or it could not be read and was removed."


class SavedTransfer(FrozenValue):
    """What is saved of one transfer that is not complete. Its secrets are not shown here, except a code of ours.

    Attributes:
        id: 32 hexadecimal digits, by which a client resumes or forgets it. They tell nothing of the code.
        side: "sender" or "receiver", what this side is; None if what is saved cannot be read and can only be forgotten.
        relays: the addresses of the relays with which it was begun.
        paths: absolute paths: what is sent, or the one directory that is received into.
        options: the options with which it was begun, without `wait`, `patience` and `reverify`.
        verify: it was begun with `verify`, and cannot be resumed without.
        code: the code, if a client made it; one that people chose is not saved.
        began: when, in seconds since 1970.
        met: both sides have met, and know that: neither needs the code any more.
        can_resume: what is saved is enough to resume it; otherwise the code is needed as well.
        used_up: the code was used, and both sides did not meet: it can only be forgotten, or begun with another code.
        running: a process is running it now.
        size: bytes that the receiver had when this was last saved: every half a minute, and when a run ended.
        total: bytes of the whole transfer; None if they were not counted yet.

    """

    id: str
    side: Literal["sender", "receiver"] | None
    relays: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    options: SendOptions | ReceiveOptions | None = None
    verify: bool = False
    code: Code | None = None
    began: float = 0.0
    met: bool = False
    can_resume: bool = False
    used_up: bool = False
    running: bool = False
    size: int = 0
    total: int | None = None


def default_state_dir() -> str:
    """Return where the command line saves transfers: the place for this user's state, or `P2P_COPY_STATE_DIR`.

    It is empty for a user without a home directory: nothing can be saved there.
    """
    return os.environ.get(STATE_VARIABLE) or default_directory()


class SavedTransfers:
    """The saved transfers in one directory.

    Raises:
        UsageError: other users may write there, and so could choose what is sent, and where it is written.

    """

    def __init__(self, directory: str) -> None:
        self._states = States(directory)
        check_private(self._states.directory)

    @property
    def notice(self) -> str | None:
        """What a user should know of the directory; None for nothing."""
        directory = self._states.directory
        if access_of_others(directory) is not Access.LIST:
            return None
        return (
            f"Other users may list {escape(directory)}, where transfers are saved: they see how many there are and "
            "when they ran, but neither files nor codes. To stop that: chmod 700"
        )

    def all(self, code: Code | None) -> tuple[SavedTransfer, ...]:
        """Return them, the one that changed last first; with a code, only those that were begun with it."""
        found = self._states.all()
        if code is not None:
            found = [each for each in found if belongs_to(self._states, each.id, each.facts, code.text)]
        readable = tuple(_described(each.id, each.facts, running=each.busy) for each in found)
        unreadable = () if code is not None else self._states.unreadable
        return (*readable, *(SavedTransfer(id_, None) for id_ in unreadable))

    def save(self, command: Command, code: Code | None, words: int | None = None) -> SavedTransfer:
        """Save a transfer if it is not saved, and return it; for code and words see `AsyncClient.save_send`.

        Raises:
            NotSaved: it cannot be written.
            UsageError: another process is running it.

        """
        with self.open_same(command, code, words) as state:
            return _described(state.id, state.facts)

    def open_same(self, command: Command, code: Code | None, words: int | None = None) -> State:
        """Return the state of a transfer, a new one if there is none; for code and errors see `save`."""
        try:
            state = self._find(command, code, words)
            try:
                _update(state, command, code, words)
            except BaseException:
                state.close()
                raise
            return state
        except OSError as error:
            where = escape(str(error.filename or self._states.directory))
            why = (
                f" in {where}: {error.strerror}. Choose another `state_dir`."
                if where
                else f": {error.strerror}."
            )
        except ValueError:
            why = ": too many paths are named. Name a directory above them instead, with `only` or `exclude`."
        raise NotSaved(f"The transfer cannot be saved{why}")

    def _find(self, command: Command, code: Code | None, words: int | None) -> State:
        if code is not None:
            return open_transfer(self._states, command, code.text)
        state = same_command(self._states, command)
        return state or open_transfer(self._states, command, _new_code(words).text, save_code=True)

    def open(self, id_: str) -> State:
        """Return the state with this id.

        Raises:
            UsageError: there is none, or it cannot be read, or another process is using it.

        """
        state = self._open(id_)
        if state is None:
            raise UsageError(_NOT_THERE)
        return state

    def _open(self, id_: str) -> State | None:
        """Return the state with this id; None if there is none, or if it cannot be read, and then it is removed."""
        try:
            return self._states.open(id_)
        except StateBusy:
            raise UsageError("That transfer is running in another process. Stop it first.") from None
        except (OSError, ValueError):
            return None

    def check_code(self, state: State, code: Code) -> None:
        """Check that a transfer was begun with this code.

        Raises:
            UsageError: it was not.

        """
        saved = state.facts.code
        if code.text != saved and not belongs_to(self._states, state.id, state.facts, code.text):
            raise UsageError("That transfer was begun with another code.")

    def forget(self, id_: str) -> None:
        """Forget a transfer, and remove its partial files.

        Raises:
            UsageError: there is none, or another process is using it.
            OutputNotWritable: it is forgotten, but its partial files could not be removed.

        """
        is_known = any(each.id == id_ for each in self.all(None))
        state = self._open(id_)
        if state is not None:
            try:
                _remove_parts(state)
            finally:
                state.remove()
        elif not is_known:
            raise UsageError(_NOT_THERE)


def saved_code(facts: Facts) -> Code | None:
    """Return the saved code; None if there is none, or if it is not valid."""
    try:
        return None if facts.code is None else Code.parse(facts.code)
    except UsageError:
        return None


def _can_resume(facts: Facts) -> bool:
    return bool(facts.tickets) or (saved_code(facts) is not None and not facts.spent)


def _described(id_: str, facts: Facts, *, running: bool = False) -> SavedTransfer:
    command = facts.command
    if command is None:  # it says only which secrets there are
        return SavedTransfer(id_, None, running=running)
    return SavedTransfer(
        id_,
        side=command.role,
        relays=tuple(relay.url for relay in command.relays),
        paths=command.places,
        options=command.options,
        verify=command.verify,
        code=saved_code(facts),
        began=facts.began,
        met=facts.sure,
        can_resume=_can_resume(facts),
        used_up=facts.spent and not facts.tickets,
        running=running,
        size=facts.size,
        total=facts.total,
    )


def _new_code(words: int | None) -> Code:
    return Code.generate(words=words or CODE_WORDS)


def _update(state: State, command: Command, code: Code | None, words: int | None) -> None:
    """Save the command as it is now, with its options, and a new code if it needs one.

    Raises:
        OSError, ValueError: it cannot be written.

    """
    facts = replace(state.facts, command=command)
    saved = saved_code(facts)
    other_words = saved is not None and words not in {None, saved.words} and not facts.tickets
    if code is None and (other_words or not _can_resume(facts)):
        facts = replace(facts, code=_new_code(words).text, spent=False)
    if facts != state.facts:
        state.facts = facts
        state.save()


def _remove_parts(state: State) -> None:
    from p2p_copy.files.target.cleanup import remove_beside
    from p2p_copy.files.target.resume import ResumeIndex
    from p2p_copy.files.target.target import Target
    from p2p_copy.transfer.resumption import Resumption

    memory, command = Resumption(state, 0), state.facts.command
    if command is None:
        return
    if command.options.receipt is not None:
        remove_beside(os.fspath(command.options.receipt), memory.receipt_tag)
    if isinstance(command, ReceiveCommand):
        target = Target(
            command.out, conflict=Conflict.REFUSE, resume=ResumeIndex(state.journal, tag=memory.tag)
        )
        target.remove_traces()
        target.close()
