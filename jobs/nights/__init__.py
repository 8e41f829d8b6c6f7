"""A nightly audit, and the scheduler that starts it: cron, systemd or Kubernetes."""
