"""contrib/compose: accepted by Compose, and its programs at work together with its own files.

Containers cannot run everywhere, so the programs run here as they are, with paths and ports replaced.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.contrib.balancers import HOSTS, PAIRS, Certificates, transfers
from tests.contrib.programs import CONTRIB, PATIENCE, check, free_port, need, replaced, serving
from tests.contrib.test_monitoring import queries
from tests.support.processes import Running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = CONTRIB / "compose"
RELAYS = ("relay-1", "relay-2", "relay-3")


def composed() -> dict[str, Any]:
    """Return all that Compose reads in the file."""
    compose = need("docker-compose")
    if check(compose, "version", "--short").startswith("1."):
        pytest.skip("docker-compose here is of version 1, which cannot say what it read as JSON")
    environment = {"GRAFANA_PASSWORD": "secret"}
    found: dict[str, Any] = json.loads(
        check(compose, "-f", FOLDER / "compose.yaml", "config", "--format", "json", **environment)
    )
    return found


def test_compose_accepts_it_and_every_file_that_it_mounts_exists() -> None:
    services = composed()["services"]
    assert set(RELAYS) < set(services)
    mounted = [
        volume["source"] for one in services.values() for volume in one["volumes"] if volume["type"] == "bind"
    ]
    missing = [path for path in mounted if not os.path.exists(path)]
    assert missing == [str(FOLDER / "relay.pem")]  # the operator's own


def test_no_relay_has_a_network_and_only_two_ports_are_open() -> None:
    services = composed()["services"]
    assert all(services[name]["network_mode"] == "none" for name in RELAYS)
    ports = [
        (port.get("host_ip"), port["published"]) for one in services.values() for port in one.get("ports", ())
    ]
    assert sorted(ports, key=str) == [("127.0.0.1", "3000"), (None, "443")]


@contextmanager
def relays(folder: Path) -> Iterator[None]:
    """Run the relays with the command of the file, each in a directory of its own."""
    text = (FOLDER / "compose.yaml").read_text()
    (command,) = re.findall(r"^  command: (.*)$", text, re.MULTILINE)
    with ExitStack() as stack:
        for name in RELAYS:
            (folder / name).mkdir()
            words = json.loads(command.replace("/run/p2p-copy", f"{folder}/{name}"))
            running = Running("run-relay-server", *words)
            stack.callback(running.kill)
            assert running.process.stdout is not None
            assert any("listening" in line for line in running.process.stdout), running.wait()
        yield


def ask(port: int, query: str) -> list[dict[str, Any]]:
    """Return what Prometheus answers to a query."""
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def wait_for(port: int, query: str, value: float) -> None:
    """Wait until Prometheus answers a query with this one value."""
    deadline = time.monotonic() + PATIENCE
    while [float(one["value"][1]) for one in ask(port, query)] != [value]:
        assert time.monotonic() < deadline, query
        time.sleep(0.1)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            code: int = answer.status
            return code
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow  # Prometheus must have asked each relay at two different times
async def test_its_programs_work_together(tmp_path: Path) -> None:
    haproxy, prometheus = need("haproxy"), need("prometheus")
    certificates = Certificates.issued(tmp_path / "certificates")
    port, metrics, api = free_port(), free_port(), free_port()
    places = {
        "/run/relay-": f"{tmp_path}/relay-",
        "/etc/haproxy/relay.pem": f"{certificates.folder}/relay.pem",
        "bind :8443": f"bind 127.0.0.1:{port}",
        "bind :9100": f"bind 127.0.0.1:{metrics}",
    }
    balancer = tmp_path / "haproxy.cfg"
    balancer.write_text(replaced((FOLDER / "haproxy.cfg").read_text(), places))
    assert "WARNING" not in check(haproxy, "-c", "-f", balancer)
    places = {"balancer:9100": f"127.0.0.1:{metrics}", "scrape_interval: 30s": "scrape_interval: 500ms"}
    (tmp_path / "prometheus.yml").write_text(replaced((FOLDER / "prometheus.yml").read_text(), places))
    shutil.copy(CONTRIB / "prometheus" / "alerts.yml", tmp_path)
    words = [prometheus, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    words += [f"--web.listen-address=127.0.0.1:{api}"]
    with (
        relays(tmp_path),
        serving([haproxy, "-W", "-db", "-f", str(balancer)], port, tmp_path / "haproxy.log"),
        serving(words, api, tmp_path / "prometheus.log"),
    ):
        await transfers([f"wss://{host}:{port}" for host in HOSTS], tmp_path, certificates.authority)
        wait_for(api, 'sum(up{job="p2p-copy-relay"})', len(RELAYS))
        wait_for(api, 'sum(p2p_copy_relay_pairings_total{outcome="complete"})', PAIRS)
        wait_for(api, "min(count_over_time(p2p_copy_relay_connections[1m])) > bool 1", 1)
        answers = {
            query: ask(api, query.replace("$instance", ".*").replace("$__rate_interval", "1m"))
            for query in queries()
        }
        silent = {query for query, found in answers.items() if not found}
        # HAProxy has the certificate here.
        assert silent == {query for query in answers if "_certificate_" in query}
        named = {
            one["metric"]["instance"]
            for query, found in answers.items()
            if "by (instance)" in query
            for one in found
        }
        assert named == set(RELAYS)
        for path, code in (
            ("relay-2/metrics", 200),
            ("relay-9/metrics", 503),
            ("relay-1/status", 403),
            ("metrics", 403),
        ):
            assert status(f"http://127.0.0.1:{metrics}/{path}") == code, path
