"""What the lab costs, as ratios against what else a person would use. The modules that need torch are imported late."""
