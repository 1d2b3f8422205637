"""One comment per pull request: found, merged, posted, and left alone when nothing changed."""

from pfa_gate.github.command import CommentRequest, comment
from pfa_gate.github.post import POLICIES

__all__ = ["POLICIES", "CommentRequest", "comment"]
