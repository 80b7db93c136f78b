"""Training: a group of runs of one shape -> records. Modules that need torch are imported where they are used."""
