"""Records on disk after a run: found again, and their reports written again. Nothing here measures."""
