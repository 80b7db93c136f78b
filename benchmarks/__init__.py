"""What only maintainers run: speed as ratios, studies, and tables of the documents."""
