"""The demo: a small corpus, a trained model, the whole path."""
