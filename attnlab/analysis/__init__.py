"""Records -> observations, grid, claims, failure modes, statistics."""
