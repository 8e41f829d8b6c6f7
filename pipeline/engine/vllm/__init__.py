"""Causal language models, scored by vLLM: the one folder that knows of it."""
