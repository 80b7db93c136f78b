#!/usr/bin/env bash
# submitit 1.5.4: on a SLURM cluster without accounting, a job that was killed is never seen to end, and result() waits forever.
#
# The good guess: Job.done() and Job.state find out that a job is gone in some other way where sacct has nothing to tell, such as
# squeue, which knows for minutes after its end what became of a job, and afterwards that there is none.
# The behavior: sacct alone is asked. Where accounting is off it fails, a warning is logged, the state is UNKNOWN, and UNKNOWN
# counts as not done. A job that wrote no result (killed by signal 9, its node lost, cancelled before it started) stays so.
# Shown with stand-ins for the commands of SLURM, which say what they say on such a cluster; no cluster is needed.
# Output seen: "state UNKNOWN, done False; commands asked: sacct".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install submitit==1.5.4
mkdir "$folder/bin"
stand_in() { # name, standard output, standard error, exit status
    printf '#!/bin/sh\necho %s >>"%s/asked"\necho "%s"\necho "%s" >&2\nexit %s\n' "$1" "$folder" "$2" "$3" "$4" >"$folder/bin/$1"
    chmod +x "$folder/bin/$1"
}
stand_in sbatch "Submitted batch job 12" "" 0
stand_in srun "" "" 0
stand_in sacct "" "Slurm accounting storage is disabled" 1
stand_in squeue "" "slurm_load_jobs error: Invalid job id specified" 1
stand_in scontrol "" "slurm_load_jobs error: Invalid job id specified" 1
PATH="$folder/bin:$PATH" "$folder/venv/bin/python" - "$folder" 2>/dev/null <<'PY'
import sys
from pathlib import Path

import submitit

root = Path(sys.argv[1])
job = submitit.SlurmExecutor(folder=root / "logs").submit(abs, 1)
(root / "asked").unlink()
done, state = job.done(force_check=True), job.state
asked = sorted(set((root / "asked").read_text().split()))
print(f"state {state}, done {done}; commands asked: {', '.join(asked)}")
sys.exit(0 if (state, done, asked) == ("UNKNOWN", False, ["sacct"]) else 1)
PY
