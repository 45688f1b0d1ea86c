#!/usr/bin/env bash
# MDM's motions for the test split of HumanML3D, in several processes. May be stopped and run again.
#
# DATA_ROOT   dataset folder                       (data/HumanML3D)
# MODEL       artifact folder, name or repository  (ZeyuLing/hftrainer-mdm-humanml3d)
# OUT_DIR     gets ID.npy                          (outputs/evaluation/mdm_h3d263_official/mdm_263)
# LOGDIR      gets shard_N.log                     (OUT_DIR/../logs)
# NUM_SHARDS  processes                            (8)
# NUM_GPUS    GPUs that they are spread over; 0 runs on the CPU  (NUM_SHARDS)
# PYTHON      interpreter                          (python3)
# More flags are passed on, for example --max_samples 32 --steps 20 --sampler dpm.
set -euo pipefail
cd "$(dirname "$0")/../.."

DATA_ROOT=${DATA_ROOT:-data/HumanML3D}
MODEL=${MODEL:-ZeyuLing/hftrainer-mdm-humanml3d}
OUT_DIR=${OUT_DIR:-outputs/evaluation/mdm_h3d263_official/mdm_263}
LOGDIR=${LOGDIR:-$(dirname "$OUT_DIR")/logs}
NUM_SHARDS=${NUM_SHARDS:-8}
NUM_GPUS=${NUM_GPUS:-$NUM_SHARDS}
PYTHON=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

mkdir -p "$OUT_DIR" "$LOGDIR"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' INT TERM
for ((shard = 0; shard < NUM_SHARDS; shard++)); do
    device=cpu
    if ((NUM_GPUS > 0)); then device="cuda:$((shard % NUM_GPUS))"; fi
    "$PYTHON" scripts/eval/mdm_t2m_h3d263.py --data_root "$DATA_ROOT" --model_path "$MODEL" --out_dir "$OUT_DIR" \
        --num_shards "$NUM_SHARDS" --shard_index "$shard" --device "$device" --skip_existing --progress "$@" \
        >"$LOGDIR/shard_$shard.log" 2>&1 &
    pids+=($!)
done
failed=0
for shard in "${!pids[@]}"; do
    if ! wait "${pids[$shard]}"; then
        echo "shard $shard failed; its last words, of $LOGDIR/shard_$shard.log:" >&2
        tail -n 3 "$LOGDIR/shard_$shard.log" >&2
        failed=1
    fi
done
if ((failed)); then exit 1; fi
echo "$(find "$OUT_DIR" -name '*.npy' | wc -l) motions in $OUT_DIR"
