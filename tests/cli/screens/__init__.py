"""What people see, as text: real commands in terminals of 80 and of 40 columns.

`python -m tests.cli.screens` writes all of it again, and the pictures of it in docs/screens.
"""
