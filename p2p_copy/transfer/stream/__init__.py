"""A stream of unknown length: read once, kept until it is acknowledged, written as it comes."""
