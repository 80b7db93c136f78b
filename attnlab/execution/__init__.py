"""Executors: groups of runs -> results, in this process, in local processes or on a Ray cluster."""
