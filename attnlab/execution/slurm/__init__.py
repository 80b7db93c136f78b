"""The executor of a SLURM cluster: jobs that outlive the driver, and files in the store between them.

driver   submits arrays of jobs, reads their files, alone writes the store; it may die and come back
job      trains its groups of runs; writes progress, checkpoints and records to its folder, ``STORE/slurm/jobs/NAME``
"""
