"""The relay's metrics for Prometheus. The Prometheus library is imported at the first request only."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast

from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from p2p_copy.acme.interface import Status
    from p2p_copy.relay.snapshot import Snapshot


class Metric(NamedTuple):
    """One metric: its name, the label that splits it, if any, and its meaning. Names of counters end in `_total`."""

    name: str
    label: str | None
    meaning: str


METRICS: Final = (
    Metric("p2p_copy_relay_connections", None, "Connections, those without a hello included."),
    Metric("p2p_copy_relay_waiting", None, "Clients that wait for their other side."),
    Metric("p2p_copy_relay_pairings", None, "Running transfers."),
    Metric("p2p_copy_relay_stalled", None, "Running transfers in which nothing from the sender moves."),
    Metric(
        "p2p_copy_relay_pairings_total",
        "outcome",
        "Transfers that have ended, by how the clients say that they ended.",
    ),
    Metric("p2p_copy_relay_bytes_total", "direction", "Bytes received, from senders and from receivers."),
    Metric("p2p_copy_relay_refused_total", "code", "Refused clients, by reason."),
    Metric("p2p_copy_relay_handshakes_failed_total", None, "Connections that ended without a hello."),
    Metric("p2p_copy_relay_abuse_total", "kind", "Attacks and other abuse withstood, by the event's name."),
    Metric(
        "p2p_copy_relay_memory_held_bytes",
        None,
        "Bytes that transfers hold, of those that --max-memory allows.",
    ),
    Metric("p2p_copy_relay_memory_limit_bytes", None, "Bytes of --max-memory."),
    Metric("p2p_copy_relay_workers", None, "Worker processes that serve; 0 without --workers."),
    Metric(
        "p2p_copy_relay_workers_died_total", None, "Worker processes that have ended though they should not."
    ),
    Metric("p2p_copy_relay_certificate_expiry_seconds", None, "Seconds until the certificate ends."),
    Metric(
        "p2p_copy_relay_certificate_last_try_timestamp_seconds",
        None,
        "When a certificate was last ordered; with --acme only, as the next ones.",
    ),
    Metric(
        "p2p_copy_relay_certificate_next_try_timestamp_seconds",
        None,
        "When a certificate will be ordered, as far as it is known.",
    ),
    Metric(
        "p2p_copy_relay_certificate_failures", None, "Orders that failed since the last one that did not."
    ),
    Metric(
        "p2p_copy_relay_certificate_needs_attention",
        None,
        "1 if there is no certificate after a failure, or less than a sixth of its life is left.",
    ),
)


def values(
    snapshot: Snapshot, certificate_ends: float | None, renewal: Status | None
) -> dict[str, float | Mapping[str, int]]:
    """Return each metric that the relay has: a number, or one for each value of the label."""
    found: dict[str, float | Mapping[str, int]] = {
        "p2p_copy_relay_connections": snapshot.connections,
        "p2p_copy_relay_waiting": snapshot.waiting,
        "p2p_copy_relay_pairings": snapshot.running,
        "p2p_copy_relay_stalled": snapshot.stalled,
        "p2p_copy_relay_pairings_total": snapshot.outcomes,
        "p2p_copy_relay_bytes_total": snapshot.received,
        "p2p_copy_relay_refused_total": snapshot.refused,
        "p2p_copy_relay_handshakes_failed_total": snapshot.handshakes_failed,
        "p2p_copy_relay_abuse_total": snapshot.abuse,
        "p2p_copy_relay_memory_held_bytes": snapshot.memory_held,
        "p2p_copy_relay_memory_limit_bytes": snapshot.memory_limit,
        "p2p_copy_relay_workers": snapshot.workers,
        "p2p_copy_relay_workers_died_total": snapshot.workers_died,
    }
    if certificate_ends is not None:
        found["p2p_copy_relay_certificate_expiry_seconds"] = certificate_ends - time.time()
    if renewal is not None:
        for name, moment in (("last", renewal.last_try), ("next", renewal.next_try)):
            if moment is not None:
                found[f"p2p_copy_relay_certificate_{name}_try_timestamp_seconds"] = moment
        found["p2p_copy_relay_certificate_failures"] = renewal.failures
        found["p2p_copy_relay_certificate_needs_attention"] = renewal.needs_attention(time.time())
    return found


def render(
    snapshot: Snapshot, certificate_ends: float | None, renewal: Status | None, accept: str
) -> tuple[bytes, str]:
    """Return all metrics in the form that `accept`, a header's value, asks for, and its content type.

    `certificate_ends` is the Unix time of the certificate's end; None without one. `renewal` says how it stands with a
    certificate that the relay gets by itself.

    Raises:
        ImportError: Prometheus' library is not installed.

    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.exposition import choose_encoder

    class Snapshot:
        def collect(self) -> Iterator[Any]:
            found = values(snapshot, certificate_ends, renewal)
            for name, label, meaning in METRICS:
                if name not in found:
                    continue
                kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                family = kind(name, meaning, labels=[label] if label else [])
                value = found[name]
                for key, number in value.items() if not isinstance(value, int | float) else [(None, value)]:
                    family.add_metric([key] if key is not None else [], number)
                yield family

    registry = CollectorRegistry()
    registry.register(cast("Any", Snapshot()))  # its base class would be one without types
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
