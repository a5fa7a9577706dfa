#!/usr/bin/env bash
# tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]
# GPUS (16), GPUS_PER_NODE (8), CPUS_PER_TASK (4) and SRUN_ARGS are taken from the environment.
set -euo pipefail
partition=$1 job_name=$2 config=$3
shift 3
# SRUN_ARGS holds several words on purpose.
# shellcheck disable=SC2086
exec srun --partition="$partition" --job-name="$job_name" --gres="gpu:${GPUS_PER_NODE:-8}" --ntasks="${GPUS:-16}" \
    --ntasks-per-node="${GPUS_PER_NODE:-8}" --cpus-per-task="${CPUS_PER_TASK:-4}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/train.py" "$config" --launcher slurm "$@"
