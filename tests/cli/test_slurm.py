"""The options of a SLURM cluster on the command line and in Python, and a cluster whose commands are stand-ins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import attnlab
from attnlab.errors import AttnlabError
from tests.cli.conftest import Command
from tests.cli.test_sweep import SIZES

TINY = ["--task", "copy", "--complexity", "1", "--seeds", "1", "--device", "cpu"]
TINY += [word for size in SIZES for word in ("--set", size)]


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of SLURM that note how they are called; what each says and returns is a file beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "srun", "squeue", "scancel", "scontrol"):
        text = '#!/bin/sh\necho "$(basename "$0") $*" >>"$0.asked"\n[ -f "$0.says" ] && . "$0.says"\nexit 0\n'
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def test_what_sbatch_refuses_is_one_error(command: Command, stand_ins: Path) -> None:
    (stand_ins / "sbatch.says").write_text("echo 'sbatch: error: Invalid account or partition' >&2; exit 1")
    result = command("sweep", *TINY, "--executor", "slurm", "--slurm-account", "nobody")
    assert result.status == 2
    assert "Traceback" not in result.error
    assert "  SLURM refused the jobs: Invalid account or partition.\n" in result.error
    assert "sbatch: error" not in result.error
    assert list(Path("results/copy/slurm/jobs").iterdir()) == []


def test_the_script_of_a_job_has_what_was_asked_for(command: Command, stand_ins: Path) -> None:
    """The stand-in says nothing that submitit understands: what it was given is left to be looked at."""
    (stand_ins / "sbatch.says").write_text('cp "$1" script; exit 1')
    Path("cluster.yaml").write_text("partition: cpu\ntime: 4h\nset: {nodelist: n1, mail-user: me}\n")
    words = ["--slurm", "cluster.yaml", "--slurm-time", "90m", "--slurm-mem", "2G", "--slurm-cpus", "3"]
    words += ["--slurm-set", "nodelist=n2", "--slurm-setup", "module load x", "--slurm-setup", "ulimit -c 0"]
    result = command("sweep", *TINY, "--executor", "slurm:5", *words)
    assert result.status == 2
    lines = Path("script").read_text().splitlines()
    wanted = {"partition=cpu", "time=90", "mem=2G", "cpus-per-task=3", "nodelist=n2", "mail-user=me", "requeue"}
    assert {f"#SBATCH --{word}" for word in wanted} <= set(lines)
    assert not [line for line in lines if "wckey" in line]
    assert [line for line in lines if line in ("module load x", "ulimit -c 0")] == ["module load x", "ulimit -c 0"]
    assert [line for line in lines if line.startswith("srun ") and "--cpus-per-task=3" in line]


def test_a_cluster_that_does_not_answer_is_not_given_jobs_twice(command: Command, stand_ins: Path) -> None:
    (stand_ins / "sbatch.says").write_text("echo Submitted batch job 12")
    # The first command is interrupted by its parent's signal while the stand-in says that the job waits.
    (stand_ins / "squeue.says").write_text('echo "12|PENDING|N/A|x|Priority"; kill -INT $PPID')
    first = command("sweep", *TINY, "--executor", "slurm")
    assert first.status == 130
    assert "1 job goes on: 12. The same command comes back to it; to end it: scancel 12" in " ".join(
        first.error.split()
    )
    (stand_ins / "squeue.says").write_text("exit 1")
    second = command("sweep", *TINY, "--executor", "slurm")
    assert second.status == 2
    assert "There may be jobs of an earlier command, and the cluster does not answer." in second.error
    assert (stand_ins / "sbatch.asked").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--slurm-partition", "gpu"], "--slurm-partition\n  The executor 'processes' is no SLURM cluster."),
        (["--slurm", "x.yaml", "--executor", "ray"], "--slurm\n  The executor 'ray' is no SLURM cluster."),
        (["--executor", "slurm", "--slurm-time", "90"], "--slurm-time\n  '90' is no such time limit."),
        (["--executor", "slurm", "--slurm-mem", "big"], "--slurm-mem\n  'big' is no amount of memory."),
        (["--executor", "slurm", "--slurm-set", "requeue"], "--slurm-set\n  'requeue' is not an option."),
        (["--executor", "slurm", "--slurm", "missing.yaml"], "missing.yaml"),
        (["--executor", "slurm:3,partitoin=x"], "'slurm' has no option 'partitoin'; did you mean 'partition'?"),
        (["--executor", "slurm", "--ray-address", "h:1"], "The executor 'slurm' does not run on a Ray cluster."),
    ],
)
def test_wrong_words_are_one_error(command: Command, words: list[str], message: str, stand_ins: Path) -> None:
    result = command("sweep", *TINY, *words)
    assert result.status == 2
    assert message in result.error
    assert "Traceback" not in result.error


def test_in_python_the_options_are_a_mapping_or_a_file(tmp_path: Path) -> None:
    quick: dict[str, Any] = {"model": {"layers": 1, "width": 8}, "train": {"max_steps": 2, "batch_size": 4}}
    quick["train"] |= {"validation_examples": 4, "test_examples": 4}
    (tmp_path / "cluster.yaml").write_text("cluster: local\ncpus: 1\n")
    ways: tuple[Any, ...] = ({"cluster": "local"}, tmp_path / "cluster.yaml")
    for given in ways:
        folder = tmp_path / f"store-{type(given).__name__}"
        (record,) = attnlab.sweep(
            "copy", complexity=[1], seeds=1, store=folder, executor="slurm", slurm=given, device="cpu", **quick
        )
        assert record.status == "done"
    with pytest.raises(AttnlabError, match="'processes' is no SLURM cluster"):
        attnlab.sweep("copy", seeds=1, store=tmp_path / "s", slurm={"partition": "gpu"}, **quick)
    with pytest.raises(AttnlabError, match="has no option 'partitoin'"):
        attnlab.sweep("copy", seeds=1, store=tmp_path / "s", executor="slurm", slurm={"partitoin": "gpu"}, **quick)
