"""From responses of layers to the spectra of their covariance."""
