"""Bytes in, values out: what both sides and the relay say, as pure code without input, output, clock or chance.

May import the root's leaves only: errors, options, observer, units, version, pasted.
"""
