"""Examples of each command, as help, docs/cli.md and the man pages show them. Each is a whole command that works.

The first example of `send` and of `receive` names the relay. The others leave it to the environment or the
configuration file.
"""

from __future__ import annotations

from typing import Final

from p2p_copy.value import NamedTuple


class Example(NamedTuple):
    """What a command is for, and the command."""

    purpose: str
    command: str


EXAMPLES: Final = {
    "": (
        Example(
            "Send a directory; this prints a code:", "p2p-copy send photos --server wss://relay.example:443"
        ),
        Example("On the other machine:", "p2p-copy receive --server wss://relay.example:443"),
        Example("Try it on this machine alone:", "p2p-copy demo"),
    ),
    "send": (
        Example(
            "Send a file and a directory; this prints a code:",
            "p2p-copy send notes.txt photos --server wss://relay.example:443",
        ),
        Example("Without a relay, to a machine that reaches this one:", "p2p-copy send --serve photos"),
        Example("What another program writes:", "tar c photos | p2p-copy send - --name photos.tar"),
    ),
    "receive": (
        Example(
            "Ask for the code, list the files, ask to accept:",
            "p2p-copy receive -o incoming --server wss://relay.example:443",
        ),
        Example("In a script, without questions:", "p2p-copy receive --code-file code.txt -y -o incoming"),
        Example("Into another program:", "p2p-copy receive --code-file code.txt -o - | tar x"),
    ),
    "resume": (
        Example("What is unfinished on this machine?", "p2p-copy resume"),
        Example("Continue one transfer:", "p2p-copy resume 6ff1"),
        Example("Continue, but stop cleanly in time:", "p2p-copy resume 6ff1 --deadline 23:50"),
    ),
    "forget": (
        Example("Drop a transfer and its partial files:", "p2p-copy forget 6ff1"),
        Example("Drop two:", "p2p-copy forget 6ff1 a03e"),
        Example("One that is saved elsewhere:", "p2p-copy forget 6ff1 --state-dir /scratch/p2p-copy"),
    ),
    "run-relay-server": (
        Example(
            "On port 443, with a certificate that it gets by itself:",
            "p2p-copy run-relay-server 0.0.0.0:443 --acme relay.example",
        ),
        Example(
            "On port 443, with a certificate that you have:",
            "p2p-copy run-relay-server 0.0.0.0:443 --certfile fullchain.pem --keyfile privkey.pem",
        ),
        Example("For a test on this machine:", "p2p-copy run-relay-server 127.0.0.1:8765 --no-tls"),
    ),
    "relay-token": (
        Example("A token for one user:", "p2p-copy relay-token alice"),
        Example("For a machine:", "p2p-copy relay-token backup@cluster"),
        Example("Keep it in a file:", "p2p-copy relay-token lab7 > lab7.txt"),
    ),
    "relay-admin": (
        Example("How busy is the relay?", "p2p-copy relay-admin 127.0.0.1:9765 status"),
        Example(
            "Change a limit until the next restart:",
            "p2p-copy relay-admin 127.0.0.1:9765 set max-connections 1000",
        ),
        Example(
            "Take no new transfers, end when the last is done:",
            "p2p-copy relay-admin unix:/run/p2p-copy/admin.sock drain",
        ),
    ),
    "relay-load": (
        Example(
            "Will it hold what is expected of it?",
            "p2p-copy relay-load wss://relay.example:443 --waiters 2000 --pairings 100",
        ),
        Example(
            "How much can it pass on?",
            "p2p-copy relay-load wss://relay.example:443 --waiters 0 --pairings 8 --size 1G --rate none --processes 4",
        ),
        Example(
            "How fast does it pair?",
            "p2p-copy relay-load wss://relay.example:443 --waiters 2000 --size 1K --rate none --json",
        ),
    ),
    "verify": (
        Example("Is everything still as it arrived?", "p2p-copy verify receipt.jsonl incoming"),
        Example("And is nothing else there?", "p2p-copy verify receipt.jsonl incoming --strict"),
        Example("In a script:", "p2p-copy verify receipt.jsonl incoming -q && rm -r original"),
    ),
    "demo": (
        Example("Copy p2p-copy's own files:", "p2p-copy demo"),
        Example("Copy a directory of yours:", "p2p-copy demo photos"),
        Example("With every detail of an error:", "P2P_COPY_DEBUG=1 p2p-copy demo"),
    ),
    "doctor": (
        Example("Can this machine use the relay?", "p2p-copy doctor --server wss://relay.example:443"),
        Example(
            "And does a connection survive two idle minutes?",
            "p2p-copy doctor --idle 2m --server wss://relay.example:443",
        ),
        Example("For a program that watches the relay:", "p2p-copy doctor --json"),
    ),
    "config": (
        Example("Which values are set, and where?", "p2p-copy config show"),
        Example("What would this command use?", "p2p-copy config show receive --server work"),
        Example("Where is the file?", "p2p-copy config path"),
    ),
    "config show": (
        Example("What is set for any command?", "p2p-copy config show"),
        Example("All values of one command, and their defaults:", "p2p-copy config show send"),
        Example(
            "What would this command line use?", "p2p-copy config show receive --server work -o incoming"
        ),
    ),
    "config path": (
        Example("Where is the file, or where would it be?", "p2p-copy config path"),
        Example("Change it:", 'vi "$(p2p-copy config path)"'),
        Example("And with another file?", "P2P_COPY_CONFIG=work.toml p2p-copy config path"),
    ),
    "help": (
        Example("Options of a command:", "p2p-copy help send"),
        Example("What can be explained?", "p2p-copy help topics"),
        Example("What does exit code 12 mean?", "p2p-copy help exit-codes"),
    ),
}
"""By command; those of the program as a whole under the empty name."""
