"""What only maintainers run: speed as ratios against baselines, studies, and tables of the documents."""
