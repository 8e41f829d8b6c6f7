"""What a run says: sums, distributions, groups, thresholds, requirements. Shows nothing itself."""
