"""What a person looks at to choose a cut: distributions, what a rule keeps, and documents."""
