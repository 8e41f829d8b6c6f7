"""What loads a model and answers windows with log-probabilities."""
