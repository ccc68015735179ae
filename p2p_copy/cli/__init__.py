"""The command line: the only part that prints, asks the user, and turns errors into exit codes.

`app` declares the commands and is all that `--help` needs; the work of each is in `commands`, in a module that is
imported when the command runs. `options` says what can be typed, `ui` what is shown. This folder may import all others;
none imports it.
"""
