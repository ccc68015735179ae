"""A process may have more open files than `select` can name: a limit of 1,024 that is no limit of the system."""

from __future__ import annotations

import os
import sys

import pytest

from p2p_copy.files.stdio import StandardInput


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are numbered in another way there")
def test_standard_input_may_have_a_high_number(monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl
    import resource

    high = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= high:
        pytest.skip("this user may not open so many files")
    readable, writable = os.pipe()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, high + 1), hard))
        with open(fcntl.fcntl(readable, fcntl.F_DUPFD, high), encoding="ascii") as file:
            monkeypatch.setattr(sys, "stdin", file)
            standard_input = StandardInput("name")
            os.write(writable, b"some")
            assert standard_input.read() == b"some"
            os.close(writable)
            assert standard_input.read() == b""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(readable)
