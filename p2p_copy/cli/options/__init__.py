"""What a command line, the configuration and the environment say."""
