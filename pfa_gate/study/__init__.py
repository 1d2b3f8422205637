"""The study: the score against size for every method, beside uniform and random recipes at equal parameters."""
