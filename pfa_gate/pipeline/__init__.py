"""The program: load, trace, measure, decide, cut, prove, recover, score, judge, write; `run` reads top to bottom."""
