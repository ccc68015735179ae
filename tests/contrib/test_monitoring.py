"""contrib/prometheus and contrib/grafana: understood by Prometheus, and about metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

from p2p_copy.relay.log.abuse import Abuse
from tests.contrib.programs import CONTRIB, check, need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROMETHEUS = CONTRIB / "prometheus"
DASHBOARD = CONTRIB / "grafana" / "dashboard.json"
MANUAL = CONTRIB.parent / "docs" / "attack.md"

METRICS = {
    "p2p_copy_relay_connections": set(),
    "p2p_copy_relay_waiting": set(),
    "p2p_copy_relay_pairings": set(),
    "p2p_copy_relay_stalled": set(),
    "p2p_copy_relay_pairings_total": {"outcome"},
    "p2p_copy_relay_bytes_total": {"direction"},
    "p2p_copy_relay_refused_total": {"code"},
    "p2p_copy_relay_handshakes_failed_total": set(),
    "p2p_copy_relay_abuse_total": {"kind"},
    "p2p_copy_relay_memory_held_bytes": set(),
    "p2p_copy_relay_memory_limit_bytes": set(),
    "p2p_copy_relay_workers": set(),
    "p2p_copy_relay_workers_died_total": set(),
    "p2p_copy_relay_certificate_expiry_seconds": set(),
    "p2p_copy_relay_certificate_last_try_timestamp_seconds": set(),
    "p2p_copy_relay_certificate_next_try_timestamp_seconds": set(),
    "p2p_copy_relay_certificate_failures": set(),
    "p2p_copy_relay_certificate_needs_attention": set(),
}
"""Each with its labels."""


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text())


def queries() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"p2p_copy_relay_\w+", text))


def test_prometheus_takes_the_scrape_configuration_and_the_rules() -> None:
    promtool = need("promtool")
    check(promtool, "check", "config", PROMETHEUS / "scrape.yml")
    check(promtool, "check", "rules", PROMETHEUS / "alerts.yml")


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    promtool = need("promtool")
    shutil.copy(PROMETHEUS / "alerts.yml", tmp_path)
    scenario = tmp_path / "scenario.yml"
    shutil.copy(CONTRIB.parent / "tests" / "contrib" / "alerts_scenario.yml", scenario)
    check(promtool, "test", "rules", scenario)


def test_rules_and_dashboard_name_no_metric_that_the_relay_has_not() -> None:
    assert metrics_in((PROMETHEUS / "alerts.yml").read_text()) <= METRICS.keys()
    assert metrics_in(DASHBOARD.read_text()) == METRICS.keys()


def test_each_kind_of_abuse_has_one_alert_and_the_manual_names_it() -> None:
    alerts = {}
    for rule in (PROMETHEUS / "alerts.yml").read_text().split("- alert: ")[1:]:
        for kinds in re.findall(r'kind=~?"([^"]+)"', rule):
            for kind in kinds.split("|"):
                assert kind not in alerts
                alerts[kind] = rule.splitlines()[0]
    assert alerts.keys() == {kind.event.name for kind in Abuse}
    manual = re.findall(r"\| `([a-z-]+)` \| .* \| `(P2PCopy\w+)` \|", MANUAL.read_text(encoding="utf-8"))
    assert dict(manual) == alerts


def test_each_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    promtool = need("promtool")
    rules = [
        {
            "record": f"query:{number}",
            "expr": query.replace("$__rate_interval", "5m").replace("$instance", ".*"),
        }
        for number, query in enumerate(queries())
    ]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    check(promtool, "check", "rules", tmp_path / "queries.yml")


def test_the_dashboard_splits_each_metric_by_its_own_labels_or_by_relay() -> None:
    for query in queries():
        labels = set(re.findall(r"sum by \((\w+)\)", query))
        (metric,) = metrics_in(query)
        assert labels in (METRICS[metric], {"instance"})


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not cells & taken
        taken |= cells
