"""Gets and renews a certificate from an ACME authority, and knows nothing of the relay that shows it.

    keeper -> schedule                  when to try; pure
           -> order -> authority        one order from the first request to the chain; one request, in a thread
                    -> challenge        the certificate that proves a name (TLS-ALPN-01)
           -> store                     account, keys and chains on disk
    settings, interface                 what an operator chooses; what keeper and relay tell each other

RFC 8555 (ACME), RFC 8737 (TLS-ALPN-01), RFC 8738 (IP addresses as names), RFC 9773 (renewal information, "ARI").

It may import the root's leaves. `settings` and `interface` import no cryptography, so that the relay, which must not
reach any, can use them; a program that runs a relay makes the keeper and gives it to the relay. The libraries of the
extra `p2p-copy[acme]` are imported by `authority` and `order` alone, when a keeper is made.
"""
