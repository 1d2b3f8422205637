"""The same gate, measured by several processes or jobs."""
