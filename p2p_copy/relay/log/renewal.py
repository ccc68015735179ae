"""Logs what the keeper of a certificate reports: each order, each failure with the authority's own words."""

from __future__ import annotations

import time

from p2p_copy.acme.interface import (
    AccountMade,
    CertificateFound,
    CertificateObtained,
    Event,
    OrderBegun,
    OtherOrders,
    TryFailed,
)
from p2p_copy.relay.log import events
from p2p_copy.units import duration


def log(event: Event) -> None:
    """Write the line of one event."""
    match event:
        case CertificateFound():
            events.CERTIFICATE_FOUND.log((), left=_until(event.expires))
        case AccountMade():
            terms = f"; its terms of use: {event.terms}" if event.terms else ""
            events.ACCOUNT_MADE.log((), directory=event.directory, terms=terms)
        case OrderBegun():
            begin = events.ORDER_RESUMED if event.resumed else events.ORDER_BEGUN
            begin.log((), names=", ".join(event.names), directory=event.directory)
        case CertificateObtained():
            events.CERTIFICATE_OBTAINED.log((), names=", ".join(event.names), left=_until(event.expires))
        case TryFailed():
            events.ORDER_FAILED.log(
                (),
                why=event.why,
                failures=event.failures,
                pause=duration(max(event.next_try - time.time(), 0)),
            )
        case OtherOrders():
            events.OTHER_ORDERS.log((), folder=str(event.folder))


def _until(moment: float) -> str:
    return duration(max(moment - time.time(), 0))
