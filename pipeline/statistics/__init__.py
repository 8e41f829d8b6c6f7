"""One definition each of quantile, sketch, interval and hash."""
