# A Slurm of its own on loopback: one controller, one node with two made-up GPUs. Sourced by chain.sh.
# shellcheck shell=bash disable=SC2154  # its variables are set there

slurm_up() {
    slurm=$scratch/slurm
    mkdir -p "$slurm"/{state,spool,log,munge}
    # -n: some machines have a name that resolves nowhere.
    local name
    name=$(hostname -s)
    slurm_configuration "$name" >"$slurm/slurm.conf"
    # Slurm asks for a device file for each GPU. These two only count; nobody opens them.
    printf 'NodeName=n1 Name=gpu File=/dev/null\nNodeName=n1 Name=gpu File=/dev/zero\n' >"$slurm/gres.conf"
    printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' >"$slurm/cgroup.conf"
    head -c 1024 /dev/urandom >"$slurm/munge/key"
    chmod 400 "$slurm/munge/key"
    export SLURM_CONF=$slurm/slurm.conf
    slurm_daemons=()
    slurm_daemon munged -F --force --key-file="$slurm/munge/key" --socket="$slurm/munge/sock" --pid-file="$slurm/munge/pid" \
        --log-file="$slurm/munge/log" --seed-file="$slurm/munge/seed" --num-threads=2
    await 10 test -S "$slurm/munge/sock" || skip "munge does not start here"
    slurm_daemon slurmctld -D -i
    slurm_daemon slurmd -D -N n1
    await 30 node_is_idle || { tail -n 5 "$slurm"/log/* >&2 && skip "Slurm does not start here"; }
}

slurm_configuration() { # host name: loopback only, no accounting, jobs start at once
    cat <<CONFIGURATION
ClusterName=fluxkit
SlurmctldHost=$1(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$slurm/munge/sock
SlurmctldPort=16817
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/slurmd.pid
SlurmctldLogFile=$slurm/log/slurmctld.log
SlurmdLogFile=$slurm/log/slurmd.log
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_min_interval=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=3600
ReturnToService=2
KillWait=5
JobRequeue=1
GresTypes=gpu
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname=$1 NodeAddr=127.0.0.1 Port=17001 CPUs=4 RealMemory=4000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=n1 Default=YES MaxTime=60 State=UP
CONFIGURATION
}

slurm_daemon() { # command and its arguments
    setsid "$@" >"$slurm/log/$1.out" 2>&1 </dev/null &
    slurm_daemons=("$!" "${slurm_daemons[@]}")
}

slurm_down() { # what it still runs, then its daemons: the last started first, each by its own id
    local pid
    [ -z "${slurm_daemons[*]:-}" ] || scancel --user "$ordinary" 2>/dev/null
    [ -z "${slurm_daemons[*]:-}" ] || await 15 node_is_idle
    for pid in "${slurm_daemons[@]:-}"; do
        [ -n "$pid" ] || continue
        kill "$pid" 2>/dev/null
        await 6 gone "$pid" || kill -KILL "$pid" 2>/dev/null
    done
    slurm_daemons=()
}

gone() { ! kill -0 "$1" 2>/dev/null; }

node_is_idle() { [ "$(sinfo --noheader --states=idle --format=%D 2>/dev/null)" = 1 ]; }

state_is() { # job, word in what Slurm says of it
    scontrol show job "$1" --oneliner | grep -qE "$2"
}

submit() { # what to run: prints the job's number; as the ordinary user, with the repository's own script
    install -d -o "$ordinary" -g "$ordinary" "$scratch/jobs"
    (cd "$scratch/jobs" && as_ordinary SLURM_CONF="$SLURM_CONF" SIF="$scratch/fluxkit.sif" RUNS="$scratch/jobs/runs" \
        NCCL_SOCKET_IFNAME=lo sbatch --parsable --mem=3G --gpus-per-node=2 --cpus-per-task=2 --time=30 "$scratch/context/apptainer/run.sbatch" "$@")
}

ended() { state_is "$1" 'JobState=(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL)'; }

came_out_well() { # job
    await 300 ended "$1" || fail "job $1 does not end: $(tail -n 5 "$scratch/jobs/fluxkit-$1.out")"
    state_is "$1" 'JobState=COMPLETED .*ExitCode=0:0' || fail "job $1 failed: $(tail -n 20 "$scratch/jobs/fluxkit-$1.out")"
}

slurm_walk() { # the README's study of three machines, with CPU presets: the second job is torchrun inside the one container
    local job image jobs=()
    jobs+=("$(submit nano-laptop-cpu --quiet "${tiny[@]}" --set hardware.label=cluster-one --set hardware.usd_per_hour=1.9)")
    jobs+=("$(submit nano-two-process --quiet "${tiny[@]}" --set hardware.label=cluster-several --set hardware.usd_per_hour=7.6)")
    for job in "${jobs[@]}"; do came_out_well "$job"; done
    image=fluxkit.sif@sha256:$(sha256sum "$scratch/fluxkit.sif" | cut -d ' ' -f 1)
    look completed "$scratch/jobs/runs" "$image" "${revision%-dirty}"
    install -d -o "$ordinary" -g "$ordinary" "$scratch/walk"
    cp -a "$scratch/sif" "$scratch/walk/laptop" # what sif_proof ran
    cp -a "$scratch/jobs/runs" "$scratch/walk/cluster"
    on_laptop compare laptop cluster >"$scratch/walk/compared" || fail "compare ended with $?"
    on_laptop report laptop cluster -o report.html || fail "report ended with $?"
    look walk "$scratch/walk"
}

on_laptop() { # arguments of fluxkit, in the folder where the studies of all machines lie
    as_ordinary apptainer --quiet exec --cleanenv --no-home --bind "$scratch/walk:/bench/runs" --pwd /bench/runs \
        "$scratch/fluxkit.sif" fluxkit "$@"
}

engine_of() { # job: process id of its engine
    pgrep --uid "$ordinary" --full "fluxkit[.]engine runs/$1/" | head -n 1
}

launcher_of() { # job: process id of the fluxkit that started its engine, which sees what the job was given
    ps -o ppid= -p "$(engine_of "$1")" | tr -d ' '
}

slurm_preempted_job() { # the signal of a pre-emption, a checkpoint, exit code 75, the queue again, and a whole result
    local job study
    job=$(submit nano-laptop-cpu --quiet "${tiny[@]}" --set tune.seconds=15.0)
    study=$scratch/jobs/runs/$job
    await 200 tuning "$study" || fail "job $job does not tune: $(tail -n 5 "$scratch/jobs/fluxkit-$job.out")"
    tr '\0' '\n' <"/proc/$(launcher_of "$job")/environ" >"$scratch/jobs/environment"
    grep -qx 'CUDA_VISIBLE_DEVICES=0,1' "$scratch/jobs/environment" || fail "CUDA_VISIBLE_DEVICES did not get into the SIF"
    grep -qx "SLURM_JOB_ID=$job" "$scratch/jobs/environment" || fail "SLURM_JOB_ID did not get into the SIF"
    grep -qx 'NCCL_SOCKET_IFNAME=lo' "$scratch/jobs/environment" || fail "NCCL_SOCKET_IFNAME did not get into the SIF"
    scancel --signal=USR1 --batch "$job"
    await 90 state_is "$job" 'JobState=PENDING .*Restarts=1' || fail "job $job was not requeued: $(tail -n 5 "$scratch/jobs/fluxkit-$job.out")"
    grep -q 'Checkpoint written' "$scratch/jobs/fluxkit-$job.out" || fail "job $job did not end with 75"
    sleep 2 # a start within the second of the requeue is refused: "job credential revoked"
    scontrol update JobId="$job" StartTime=now # Slurm would wait for two minutes
    came_out_well "$job"
    look interrupted "$study"
}
