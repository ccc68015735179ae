"""The options of all commands, from the command line, the configuration file and the environment."""
