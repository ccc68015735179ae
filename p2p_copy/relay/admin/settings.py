"""The limits that may change while a relay runs, by the names of their options. A change ends no connection.

Other limits need a restart: what was counted with one value cannot go on with another.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from p2p_copy.errors import UsageError
from p2p_copy.relay import limits
from p2p_copy.units import amount, exact_duration, exact_size, parse_duration, parse_rate, parse_size

if TYPE_CHECKING:
    from p2p_copy.relay.config import RelayConfig

_MOST: Final = 2**53
"""Numbers up to here are the same in every JSON implementation."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One number.

    Attributes:
        field: the name of its field in `RelayConfig`.
        least: the smallest number that it may be.
        kind: its unit. A time is in seconds and need not be whole; a rate may be None, which is no limit.

    """

    field: str
    least: int
    kind: Literal["count", "size", "time", "rate"] = "count"


LIVE: Final = {
    "max-connections": Setting("max_connections", 1),
    "max-pending": Setting("max_pending", 1),
    "max-waiting": Setting("max_waiting", 1),
    "max-wait": Setting("wait", 1, "time"),
    "accept-budget": Setting("accept_budget", 1, "time"),
    "max-per-source": Setting("max_per_source", 0),
    "max-pending-per-source": Setting("max_pending_per_source", 0),
    "max-memory": Setting("max_memory", limits.LEAST_MEMORY, "size"),
    "frames-per-second": Setting("frames_per_second", 0),
    "rate": Setting("rate", limits.LEAST_RATE, "rate"),
    "rate-per-source": Setting("rate_per_source", limits.LEAST_RATE, "rate"),
    "rate-total": Setting("rate_total", limits.LEAST_RATE, "rate"),
}


def changed(config: RelayConfig, name: object, value: object) -> RelayConfig:
    """Return the configuration with one setting changed.

    Raises:
        UsageError: there is no such setting, or the value is none that it may have.

    """
    setting = _setting(name)
    change: dict[str, Any] = {setting.field: value}
    if value is None and setting.kind == "rate":
        return dataclasses.replace(config, **change)
    whole = setting.kind != "time"
    kind = int if whole else int | float
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"The value of {name} is a {'whole ' if whole else ''}number.")
    if not setting.least <= value <= _MOST:
        raise UsageError(f"The least value of {name} is {setting.least}, the most is 2**53.")
    return dataclasses.replace(config, **change)


def parsed(name: str, text: str) -> float | None:
    """Parse a setting's value as a person writes it; `none` is None.

    Raises:
        UsageError: there is no such setting, or the text is no value of its kind.

    """
    kind = _setting(name).kind
    if kind == "rate" and text == "none":
        return None
    try:
        match kind:
            case "count":
                return int(text)
            case "size":
                return parse_size(text)
            case "time":
                return parse_duration(text)
            case "rate":
                return parse_rate(text)
    except ValueError as error:
        reason = "it is a whole number" if kind == "count" else str(error)
        also = "; or none" if kind == "rate" else ""
        raise UsageError(f"The value of {name} has the wrong form: {reason}{also}.") from None


def shown(name: str, value: float | None) -> str:
    """Return a setting's value as a person writes it, with its unit; a setting of another version has none."""
    if value is None:
        return "none"
    match LIVE[name].kind if name in LIVE else "count":
        case "size":
            exact, about = exact_size(int(value)), amount(value)
            return f"{exact} ({about})" if exact.endswith(" B") and exact != about else exact
        case "rate":
            return f"{exact_size(int(value))}/s"
        case "time":
            return exact_duration(value)
    return str(value)


def _setting(name: object) -> Setting:
    setting = LIVE.get(name) if isinstance(name, str) else None
    if setting is None:
        raise UsageError(f"Settings that can be changed while the relay runs: {', '.join(LIVE)}.")
    return setting


def current(config: RelayConfig) -> dict[str, float | None]:
    """Return the settings of a configuration."""
    return {name: getattr(config, setting.field) for name, setting in LIVE.items()}
