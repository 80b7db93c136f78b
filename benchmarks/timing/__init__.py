"""The cost of attnlab as ratios against baselines. Modules that need torch are imported late."""
