"""Examines each step of the way to a relay and back, and what this machine contributes: `p2p-copy doctor`.

    examination -> machine              this program, disks
                -> way -> look          from the relay's name to its welcome; what answers there, looked at from outside
                -> proof                could an authority check the name for a new certificate
                -> pair                 pairing with itself, and what is measured through the relay

May import `protocol`, `transport`, `peer`, `files` and the root's leaves. Nothing of what it sends is a user's.
"""
