"""The numbers of getting a certificate, in seconds unless they say otherwise, each with its reason."""

from __future__ import annotations

from typing import Final

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

# When to renew

SHORT_LIFE: Final = 10 * DAY
"""Lives below this are renewed at half instead of two thirds: days of failure must fit into what is left."""

LEAST_GAP: Final = HOUR
"""Between two certificates, or a tenth of the life if that is longer: a renewal window in the past, or a clock that is
wrong, must not run into an authority's limits."""

LEAST_GAP_OF_ALL: Final = 1.0
"""If a certificate has no life at all, because its authority errs: it must not be ordered without a pause."""

ARI_INTERVAL: Final = 6 * HOUR
"""Between two questions when to renew, if the authority names no other time (RFC 9773, section 4.3.3)."""

ARI_LEAST: Final = 60.0
ARI_MOST: Final = DAY
"""Bounds for the time that it names (RFC 9773, section 4.3.2)."""

# After a failure

FIRST_PAUSE: Final = 60.0
"""After the first failure; doubled after each further one. Six tries fit into the first hour; Let's Encrypt counts five
failed proofs of a name an hour, and gives one back every twelve minutes."""

SHORT_PAUSES: Final = 20
"""First pauses are at most this part of the certificate's life, for certificates of minutes."""

LONGEST_PAUSE: Final = HOUR
"""Without a certificate, or with little of its life left."""

LONGEST_CALM_PAUSE: Final = 12 * HOUR
"""With a certificate that lasts: a tenth of what is left of its life, at most this."""

JITTER: Final = 0.2
"""Pauses vary by this share, so that relays that an outage has brought into step come apart."""

MOST_RETRY_AFTER: Final = 7 * DAY
"""An authority that asks for more is asked again after this: limits for a name are counted by the week."""

RESTART_PAUSE: Final = 600.0
"""Most of a pause that a restart still keeps to, so that a service manager that restarts a relay in a loop makes six
orders an hour, and an operator who has mended something waits for minutes only."""

# One try

REQUEST_TIMEOUT: Final = 60.0
"""For one request with all its repetitions; its thread is left behind then."""

SOCKET_TIMEOUT: Final = 20.0
"""For connecting, and for each read: a thread that was left behind ends by this."""

MOST_ANSWER: Final = 1 << 20
"""Bytes of an answer. Chains have some ten thousand."""

NONCE_TRIES: Final = 40
"""Requests with a nonce that was refused, within `REQUEST_TIMEOUT`: with three of five refused, one request in
a thousand million fails."""

FIRST_POLL: Final = 0.25
LAST_POLL: Final = 5.0
"""Between two questions how far an order is, doubled each time, if the authority names no time."""

PROOF_TIMEOUT: Final = 180.0
"""For one name to be proved, from the answer on. Authorities look from several places and try again."""

ISSUE_TIMEOUT: Final = 300.0
"""For the certificate to be issued after all names are proved."""

CLOSE_TIMEOUT: Final = 1.0
"""For the relay to close a challenge when the keeper is cancelled, and for forgetting that a try was begun."""

OLDEST_ORDER: Final = DAY
"""An order that an authority has not decided by then, or in a tenth of the certificate's life, is begun anew."""

# On disk

ROOM: Final = 64 * 1024
"""Bytes that are written before an order, and into which the chain goes. Chains of four certificates have 10 KiB."""

KEPT_CERTIFICATES: Final = 2
"""The one in use, and the one before it, which others may still be loading."""

LOCK_INTERVAL: Final = 2.0
"""Between two looks whether another process has given up the folder."""

LOOK_INTERVAL: Final = 600.0
"""The longest sleep: then the clock and the folder are looked at, since the clock may have been set, and another relay
may have renewed."""

DISK_TIMEOUT: Final = 8.0
"""For one step on the disk, as the relay gives other files: without an answer the relay listens all the same."""

DISK_THREADS: Final = 4
"""Steps on the disk at a time. A disk that hangs must not take the threads that the rest of the relay needs."""

REMEMBER_TIMEOUT: Final = 5.0
"""For writing down how a try went, before it is reported: a disk that hangs must not hide it."""

MOST_WORDS: Final = 1000
"""Characters of what an authority says that are repeated to the operator."""
