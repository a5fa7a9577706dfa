#!/usr/bin/env bash
# One node: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of tools/test.py]
# Several nodes: the same on each, with NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT set.
set -euo pipefail
config=$1 checkpoint=$2 processes=$3
shift 3
exec torchrun --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${MASTER_PORT:-29500}" --nproc_per_node="$processes" \
    "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
