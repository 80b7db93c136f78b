"""The executor of a SLURM cluster, see :mod:`attnlab.execution.slurm`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, final

from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.execution.base import ExecutorKind, ExecutorRequest, register
from attnlab.execution.jobs import Executor
from attnlab.execution.slurm.options import JobRequest, parse_memory, parse_minutes

JOBS = 64
"""Jobs that run at the same time, at most, where no number is given."""
GPU_JOBS = 8
"""The same for jobs with a GPU, of which each trains many runs as one program."""
Positive = Annotated[int, Field(ge=1)]


@final
@register("slurm", source="https://slurm.schedmd.com")
class SlurmKind(ExecutorKind):
    """Jobs on a SLURM cluster, which go on without this process.

    Options:
        partition: The partition.
        time: Time limit of a job, after which it is queued again from its checkpoints.
        mem: Memory of a job.
        cpus: Cores of a job.
        gpus: GPUs of a job.
        account: What the jobs are charged to.
        qos: Quality of service.
        constraint: Features that a node must have.
        setup: Lines of shell that a job runs first.
        groups: Groups of runs that a job trains, side by side on its cores.
        cancel: Whether Ctrl-C cancels the jobs.
        set: Further options of sbatch, by name.
        cluster: ``local`` runs the jobs as processes of this machine, to try it.
    """

    def __init__(
        self,
        *,
        partition: str | None = None,
        time: str = "1h",
        mem: str | None = None,
        cpus: Positive = 1,
        gpus: Annotated[int, Field(ge=0)] = 0,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        setup: str | tuple[str, ...] = (),
        groups: Positive = 1,
        cancel: bool = False,
        set: dict[str, str | int | bool] | None = None,
        cluster: Literal["slurm", "local"] = "slurm",
    ) -> None:
        self.request = JobRequest(
            partition=partition,
            minutes=parse_minutes(time, "--slurm-time"),
            mem=parse_memory(mem, "--slurm-mem") if mem is not None else None,
            cpus=cpus,
            gpus=gpus,
            account=account,
            qos=qos,
            constraint=constraint,
            setup=(setup,) if isinstance(setup, str) else setup,
            more={key.replace("_", "-"): value for key, value in (set or {}).items()},
        )
        self.groups, self.cancel, self.cluster = groups, cancel, cluster
        self._check_lines()

    def device(self, name: str) -> str:
        """The device of the nodes, which this machine need not have."""
        if name == "auto":
            return "cuda" if self.request.wants_gpu else "cpu"
        if name == "mps":
            problem = "The nodes of a SLURM cluster have no device 'mps'."
            raise InvalidValueError(problem, "Give --device cpu or cuda, or leave it out.", where="--device")
        if name == "cuda" and not self.request.wants_gpu:
            problem = "The jobs ask for no GPU."
            raise InvalidValueError(problem, "Give --slurm-gpus 1.", where="--device cuda")
        return name

    def make(self, request: ExecutorRequest) -> Executor:
        """Make the executor; the jobs and this process exchange files in the store."""
        from attnlab.execution.slurm.cluster import Cluster
        from attnlab.execution.slurm.driver import ClusterDriver
        from attnlab.execution.slurm.real import SlurmCluster
        from attnlab.execution.slurm.rehearsal import Rehearsal

        if request.store is None:
            problem = "Jobs of a cluster leave their results in a store, and there is none."
            raise InvalidValueError(problem, "Give the folder of results.", where="--executor slurm")
        parallel = request.count or (GPU_JOBS if request.settings.device == "cuda" else JOBS)
        if request.count is None and self.cluster == "local":
            parallel = 2
        cluster: Cluster
        if self.cluster == "local":
            cluster = Rehearsal(request.store, self.request, parallel)
        else:
            cluster = SlurmCluster(request.store, self.request, parallel)
        how: dict[str, Any] = {"cpus": self.request.cpus, "groups": self.groups, "cancel": self.cancel}
        return ClusterDriver(
            cluster,
            request.store,
            request.settings,
            parallel=min(parallel, request.runs or parallel),
            description=self._description(parallel),
            **how,
        )

    def _description(self, parallel: int) -> str:
        """What runs the jobs."""
        place = "a rehearsal of SLURM on this machine" if self.cluster == "local" else "SLURM"
        where = f" on the partition {self.request.partition}" if self.request.partition else ""
        return f"{place}{where}, up to {parallel} jobs at a time"

    def _check_lines(self) -> None:
        """Refuse words that would become further lines of the script of a job."""
        words = {name: getattr(self.request, name) for name in ("partition", "account", "qos", "constraint")}
        words |= {f"set {key}": value for key, value in self.request.more.items()}
        for name, value in words.items():
            if value is not None and re.search(r"[\x00-\x1f]", f"{name}{value}"):
                problem = f"'{name}' has a line break or another control character."
                raise InvalidValueError(problem, "Use one line.", where="--executor slurm")
        for key in self.request.more:
            if not re.fullmatch(r"[a-z][a-z0-9-]*", key):
                problem = f"'{key}' is no option of sbatch."
                raise InvalidValueError(
                    problem, "Write its long name without dashes: nodelist=n1.", where="--slurm-set"
                )
