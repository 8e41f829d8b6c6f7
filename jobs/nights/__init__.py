"""A nightly audit, and what starts it: cron, systemd or Kubernetes."""
