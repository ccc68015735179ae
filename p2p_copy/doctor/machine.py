"""What this machine contributes: the program, its authorities, the disk to receive on, the saved transfers."""

from __future__ import annotations

import platform
import ssl
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from p2p_copy.doctor import limits
from p2p_copy.doctor.finding import Check, good, warning
from p2p_copy.errors import NoSpace, NotSaved, OutputNotWritable, P2PCopyError
from p2p_copy.files.state.store import States
from p2p_copy.files.state.transfers import check_private
from p2p_copy.files.target.errors import fail_for_good
from p2p_copy.files.trial import try_writing
from p2p_copy.protocol.escape import escape
from p2p_copy.transport.authorities import find_authorities
from p2p_copy.transport.timeouts import within
from p2p_copy.units import amount, count
from p2p_copy.version import FULL_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.doctor.finding import Finding


T = TypeVar("T")

_FAST_OPENSSL: Final = (3, 1)
"""The version from which on OpenSSL can encrypt with AVX-512, which halves the time for TLS on processors that have it.
Its version 3.0 is that of many distributions."""


async def about_program() -> Finding:
    """Return what runs here, for a report of a problem."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    tls = tls_library(ssl.OPENSSL_VERSION, ssl.OPENSSL_VERSION_INFO)
    return good(Check.PROGRAM, f"{FULL_NAME}, Python {platform.python_version()}, {system}, {tls}")


def tls_library(name: str, version: tuple[int, ...]) -> str:
    """Return what does TLS here, and that a newer version is faster, if that is so."""
    is_slow = name.startswith("OpenSSL ") and version < _FAST_OPENSSL
    return f"{name}; with a newer OpenSSL, such as 3.5, wss is faster" if is_slow else name


async def about_authorities(ca_file: str | None, *, pinned: bool) -> Finding:
    """Return by which authorities a relay's certificate is checked."""
    if pinned:
        return good(Check.AUTHORITIES, "none is needed: the relay's key is pinned")
    found = await trio.to_thread.run_sync(find_authorities, abandon_on_cancel=True)
    named = f" ({' and '.join(found.variables)})" if found.variables else ""
    also = f", and those in {escape(ca_file)}" if ca_file else ""
    if found.places:
        places = " and ".join(map(escape, found.places))
        note = ": OpenSSL does not look there by itself" if found.to_load else ""
        return good(Check.AUTHORITIES, f"those in {places}{named}{note}{also}")
    if found.variables:
        why = f"{' and '.join(found.variables)} in the environment: there is no certificate where that points to"
    else:
        why = "this machine has none where distributions put them. Install the package ca-certificates"
    return warning(Check.AUTHORITIES, f"The system's are not found: {why}{also}.")


async def try_disk(directory: str) -> Finding:
    """Write a little where a receiver would write.

    Raises:
        OutputNotWritable, NoSpace, SystemFailed: that cannot be done.

    """
    late = OutputNotWritable(
        f"The disk of {escape(directory)} does not take {amount(limits.DISK_BYTES)} within {limits.DISK_SECONDS:.0f} s:"
        " it may be a network mount whose server does not answer."
    )
    try:
        trial = await _in_thread(lambda: try_writing(directory, limits.DISK_BYTES), late)
    except (OSError, ValueError) as error:
        raise _no_disk(directory, error) from None
    rate = round(limits.DISK_BYTES / max(trial.seconds, 1e-9))
    free = "" if trial.free is None else f", {amount(trial.free)} free"
    return good(Check.DISK, f"{escape(trial.place)}: written at {amount(rate)}/s{free}", rate=rate)


def _no_disk(directory: str, error: OSError | ValueError) -> P2PCopyError:
    """Return the error with which a transfer into a directory would end, and which directory that is."""
    try:
        fail_for_good(error)
    except (NoSpace, OutputNotWritable) as failed:
        return type(failed)(
            f"{escape(directory)}: {failed} Free some space, or choose another directory (`out`)."
        )
    except P2PCopyError as failed:
        return failed


async def try_state(directory: str) -> Finding:
    """Write where unfinished transfers are saved, and say what is there.

    Raises:
        NotSaved: nothing can be saved.
        UsageError: other users may write there.

    """
    if not directory:
        raise NotSaved(
            "Transfers cannot be saved, and so not be resumed: this user has no home directory with an absolute path. "
            "Choose a `state_dir`."
        )
    late = NotSaved(
        f"The disk of {escape(directory)}, where transfers are saved, does not answer within "
        f"{limits.DISK_SECONDS:.0f} s. Choose another `state_dir`."
    )

    def look() -> tuple[str, int, int, int | None]:
        check_private(directory)
        found = States(directory).all()
        trial = try_writing(directory, 1)
        return trial.place, len(found), sum(each.busy for each in found), trial.free

    try:
        place, saved, running, free = await _in_thread(look, late)
    except OSError as error:
        raise NotSaved(
            f"Transfers cannot be saved in {escape(directory)}: {error.strerror}. Choose another `state_dir`."
        ) from None
    there = count(saved, "unfinished transfer") if place == directory or saved else "will be made there"
    now = f", {running} of them running now" if running else ""
    space = "" if free is None else f", {amount(free)} free"
    return good(Check.STATE, f"{escape(directory)}: can be written; {there}{now}{space}")


async def _in_thread(work: Callable[[], T], late: P2PCopyError) -> T:
    with within(limits.DISK_SECONDS):
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
    raise late
