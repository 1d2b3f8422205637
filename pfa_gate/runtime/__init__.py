"""A file as a runtime runs it: sessions, a session called like a model, and what a file stores and computes."""
