"""What a report computes: sums, distributions, groups, requirements. Shows nothing itself."""
