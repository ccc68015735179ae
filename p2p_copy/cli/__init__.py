"""The command line: the only part that prints, asks, and turns errors into exit codes.

`app` declares the commands and is all that `--help` needs. Each command's work is in the module of its
name, which is imported when the command runs.
"""
