"""Finds out how many connections the operating system allows this process."""

from __future__ import annotations

import contextlib

from p2p_copy.relay import limits


def raise_limit() -> None:
    """Let this process open as many files as its user may. For programs that are a relay and nothing else."""
    try:
        import resource
    except ImportError:  # no POSIX
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS says "infinity" and does not mean it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_allowed() -> int | None:
    """Return how many connections there may be, so that some descriptors are left; None for any number."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else int(soft * limits.DESCRIPTORS_SHARE)
