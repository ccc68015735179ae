"""`relay-admin` against a running relay: answers, orders, exit codes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.cli.processes import finish, line_of, run, start

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def relay(address: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = start("run-relay-server", "127.0.0.1", "0", "--no-tls", "--admin", address)
    try:
        where = line_of(process.stdout).strip().partition("admin address: ")[2]
        assert " Relay listening on " in line_of(process.stdout)
        yield process, where
    finally:
        process.terminate()
        code, _, _ = finish(process)
        assert code == 0


def test_orders_are_obeyed_and_answered(tmp_path: Path) -> None:
    with relay(f"unix:{tmp_path}/admin") as (process, address):
        code, out, err = run("relay-admin", address, "status")
        assert (code, err) == (0, "")
        assert "serving" in out
        assert "rate-total: none" in out
        assert run("relay-admin", address, "pairings") == (0, "No transfers are running.\n", "")
        assert "accept-budget: 10 s" in out
        code, out, _ = run("relay-admin", address, "set", "rate-total", "10M/s")
        assert (code, out) == (0, "rate-total is 10 MiB/s, until the relay is restarted.\n")
        assert "rate-total: 10 MiB/s" in run("relay-admin", address, "status")[1]
        assert run("relay-admin", address, "set", "max-wait", "1h30m")[0] == 0
        assert run("relay-admin", address, "set", "rate", "1.5MB/s")[0] == 0
        status = run("relay-admin", address, "status")[1]
        assert ("max-wait: 1 h 30 min" in status, "rate: 1.5 MB/s" in status) == (True, True)
        for given, shown in (("256M", "256 MiB"), ("6319014912", "6319014912 B (5.9 GiB)")):
            assert run("relay-admin", address, "set", "max-memory", given)[0] == 0
            assert f"\nmax-memory: {shown}\n" in run("relay-admin", address, "status")[1]
        code, _, err = run("relay-admin", address, "set", "rate-total", "1")
        assert (code, "least value" in err) == (9, True)
        code, _, err = run("relay-admin", address, "end", "7")
        assert (code, "no transfer" in err) == (9, True)
        assert run("relay-admin", address, "reload")[:2] == (0, "Reloaded.\n")
        assert run("relay-admin", address, "drain")[0] == 0
        assert process.wait(30) == 0


def test_a_loopback_port_works_too() -> None:
    with relay("127.0.0.1:0") as (_, address):
        assert run("relay-admin", address, "status")[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ["dance"],
        ["end"],
        ["end", "x"],
        ["set", "rate"],
        ["set", "rate", "fast"],
        ["status", "x"],
        ["set", "max-waiting", "10m"],
        ["set", "gaga", "1"],
    ],
)
def test_an_unknown_order_is_a_usage_error(words: list[str]) -> None:
    assert run("relay-admin", "127.0.0.1:9", *words)[0] == 2


def test_a_relay_that_does_not_run_is_reported(tmp_path: Path) -> None:
    code, _, err = run("relay-admin", f"unix:{tmp_path}/nothing", "status")
    assert (code, "cannot be reached" in err) == (4, True)


def test_a_relay_does_not_start_with_an_admin_address_that_others_can_reach() -> None:
    code, _, err = run("run-relay-server", "127.0.0.1", "0", "--no-tls", "--admin", "0.0.0.0:9765")
    assert (code, "for this machine only" in err) == (2, True)
