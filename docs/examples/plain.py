"""Copies a directory from a plain program: python plain.py send RELAY CODE PATH, or receive RELAY CODE OUT."""

from __future__ import annotations

import sys

import p2p_copy as p2p


def show(event: p2p.Event) -> None:
    """Print what a person wants to know."""
    match event:
        case p2p.Waiting():
            print("Waiting for the other side.")
        case p2p.Progress(size=size, total_size=total):
            print(f"{size} of {total or 'so far unknown'} bytes")
        case p2p.Reconnecting(sentence=sentence):
            print(sentence, "Reconnecting.")
        case p2p.Problem(path=path, reason=reason):
            print(f"Not delivered: {path} {reason}")


def main(direction: str, relay: str, text: str, path: str) -> None:
    """Send or receive; a P2PCopyError says in a sentence what went wrong."""
    code = p2p.Code.parse(text)
    client = p2p.Client(relay=relay)
    try:
        if direction == "send":
            report = client.send(path, code=code, on_event=show)
        else:
            report = client.receive(path, code=code, on_event=show)
        report.raise_for_failures()
    except p2p.P2PCopyError as error:
        sys.exit(str(error))
    print(f"{report.files} files, {report.size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
