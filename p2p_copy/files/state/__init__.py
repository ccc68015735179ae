"""What is saved of a transfer between two runs: its facts and its journal, in one private directory.

May import the modules directly in `files`, and neither `source` nor `target`.
"""
