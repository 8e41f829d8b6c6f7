"""What 0.1.0 wrote and decided, frozen: later versions read it and decide the same."""
