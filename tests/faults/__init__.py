"""The fault campaign: each known attack and accident, at a relay process that carries a transfer all the while.

`nox -s faults` runs it. Its files are called fault_*.py, so the tests do not collect them: together they take minutes.
"""
