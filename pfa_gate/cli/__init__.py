"""The command `pfa-gate`."""

from pfa_gate.cli.command_line import BAD_CONFIG, command_parser, main

__all__ = ["BAD_CONFIG", "command_parser", "main"]
