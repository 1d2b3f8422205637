"""A smaller model: which filters stay, the cut and its proof, accuracy back."""
