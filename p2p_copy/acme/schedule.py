"""When to renew, and how long to pause after a failure. Pure: times are Unix times, chance is handed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2p_copy.acme import limits
from p2p_copy.acme.interface import NEAR_END

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate begins and ends."""

    begins: float
    ends: float

    @property
    def life(self) -> float:
        """Seconds from the beginning to the end."""
        return max(self.ends - self.begins, 0.0)


@dataclass(frozen=True, slots=True)
class Window:
    """When an authority suggests to renew (RFC 9773, section 4.2)."""

    start: float
    end: float

    @classmethod
    def checked(cls, start: float, end: float) -> Self | None:
        """Return the window; None if it ends before it starts, which is the same as no window."""
        return cls(start, end) if start < end else None

    def moment(self, choice: float) -> float:
        """Return a time in it, by a `choice` from 0 to 1."""
        return self.start + (self.end - self.start) * choice


def renewal_time(validity: Validity, window: Window | None, choice: float) -> float:
    """Return when a certificate should be renewed, which may be past.

    Args:
        validity: its life.
        window: what the authority suggests; None for nothing. It cannot put a renewal off until the end is near.
        choice: a random number from 0 to 1, the same for all questions about one certificate.

    """
    share = 1 / 2 if validity.life < limits.SHORT_LIFE else 2 / 3
    if window is None:
        return validity.begins + validity.life * share
    return min(window.moment(choice), validity.ends - validity.life * NEAR_END)


def least_gap(life: float) -> float:
    """Return the least time between two certificates, for the life of the first one; below half of it if it has one."""
    return max(min(max(limits.LEAST_GAP, life / 10), life / 3), limits.LEAST_GAP_OF_ALL)


def oldest_order(life: float | None) -> float:
    """Return the seconds for which an order is gone on with, given the life of the certificate in use, or None."""
    return limits.OLDEST_ORDER if life is None else min(limits.OLDEST_ORDER, life / 10)


def order_time(
    validity: Validity, obtained: float, window: Window | None, choice: float, now: float
) -> float:
    """Return when the next certificate should be ordered, which may be past.

    Args:
        validity: the life of the certificate in use.
        obtained: when it was obtained; ignored if that lies in the future, because then the clock was set.
        window: as for `renewal_time`.
        choice: as for `renewal_time`.
        now: the time.

    """
    wanted = renewal_time(validity, window, choice)
    return wanted if obtained > now else max(wanted, obtained + least_gap(validity.life))


def pause(failures: int, validity: Validity | None, now: float, choice: float) -> float:
    """Return the seconds from a failure to the next try.

    Args:
        failures: how many there were in a row, with this one.
        validity: the life of the certificate in use; None without one.
        now: the time.
        choice: a random number from 0 to 1.

    """
    first, most = limits.FIRST_PAUSE, limits.LONGEST_PAUSE
    if validity is not None:
        first = min(first, validity.life / limits.SHORT_PAUSES)
        most = min(max(most, (validity.ends - now) / 10), limits.LONGEST_CALM_PAUSE)
    # The exponent is bounded, because a float is: an authority may be away for years.
    exact = min(first * 2.0 ** min(failures - 1, 64), most)
    return exact * (1 - limits.JITTER + 2 * limits.JITTER * choice)


def ari_interval(named: float | None, validity: Validity) -> float:
    """Return the seconds until an authority is asked again when to renew, `named` by it or None.

    A short life is looked at more often than either would have it.
    """
    interval = limits.ARI_INTERVAL if named is None else named
    return min(max(interval, limits.ARI_LEAST), limits.ARI_MOST, validity.life / 10)
