#!/bin/sh
# A SLURM cluster of one node on the loopback address, for tests.
#
#   cluster.sh install        Debian's packages, unless they are there (root)
#   cluster.sh start FOLDER   munged, slurmctld and slurmd, with all their files in FOLDER (root)
#   cluster.sh stop FOLDER    end them
#
# Commands find the cluster by SLURM_CONF=FOLDER/slurm.conf. Without slurmdbd there is no accounting, as on many small
# clusters: a job that has ended is forgotten soon. Exit status 77: it cannot be had here.
set -eu
PATH="$PATH:/usr/sbin:/sbin"

cannot() {
    echo "$1" >&2
    exit 77
}

install_packages() {
    for command in munged slurmctld slurmd sbatch; do
        command -v "$command" >/dev/null || missing=1
    done
    [ -z "${missing:-}" ] && return
    [ "$(id -u)" = 0 ] || cannot "SLURM is not installed, and only root can install it."
    command -v apt-get >/dev/null || cannot "SLURM is not installed, and this is no Debian."
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update >/dev/null && apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends \
        slurmctld slurmd slurm-client munge >/dev/null 2>&1 || cannot "Debian's packages of SLURM cannot be installed."
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start() {
    folder=$1
    [ "$(id -u)" = 0 ] || cannot "Only root can start the daemons of SLURM."
    mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
    chmod 700 "$folder/munge"
    host=$(hostname -s)
    # Two devices that every machine has stand for GPUs: SLURM gives them out, and nothing can compute on them.
    printf 'Name=gpu File=/dev/%s\n' null zero >"$folder/gres.conf"
    head -c 1024 /dev/urandom >"$folder/munge/key"
    chmod 600 "$folder/munge/key"
    munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --num-threads=2 \
        --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
    cat >"$folder/slurm.conf" <<CONF
ClusterName=attnlab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthInfo=socket=$folder/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
ReturnToService=2
KillWait=5
MinJobAge=20
SlurmdParameters=config_overrides
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=60 PriorityTier=1 State=UP
PartitionName=urgent Nodes=$host MaxTime=60 PriorityTier=10 State=UP
CONF
    SLURM_CONF=$folder/slurm.conf
    export SLURM_CONF
    slurmctld -c -f "$SLURM_CONF"
    slurmd -f "$SLURM_CONF"
    for _ in $(seq 60); do
        [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ] && return
        sleep 0.5
    done
    tail -n 20 "$folder/slurmctld.log" "$folder/slurmd.log" >&2
    stop "$folder"
    cannot "The daemons of SLURM did not start."
}

stop() {
    for name in slurmd slurmctld munge/pid; do
        file=$1/$name
        [ "$name" = munge/pid ] || file=$file.pid
        [ -f "$file" ] || continue
        process=$(cat "$file")
        kill "$process" 2>/dev/null || continue
        for _ in $(seq 40); do # they write their state before they end
            kill -0 "$process" 2>/dev/null || break
            sleep 0.25
        done
    done
}

case "${1:-}" in
    install) install_packages ;;
    start) start "$2" ;;
    stop) stop "$2" ;;
    *) cannot "usage: $0 install | start FOLDER | stop FOLDER" ;;
esac
