#!/usr/bin/env bash
# hml263 predictions -> SMPL motion_135 (IK, 80 steps) -> MotionStreamer-272 -> its evaluator. May be stopped, even
# killed, and run again: what is done is not done twice.
#
# PRED263          hml263 predictions, ID.npy      (outputs/.../hml263/mogents_ts10_cfg4_rescfg5_seed0)
# SMPL135, PRED272 what the first two stages write (beside it: motion135/..._ik80, ms272/..._ik80)
# METRICS          metric JSON and run_summary.json (PRED272/metrics)
# LOGDIR           logs                            (PRED272/logs)
# NUM_SHARDS       processes of the first stage    (8)
# NUM_GPUS         GPUs that they are spread over; 0 runs on the CPU (8)
# CONVERT_WORKERS  processes of the second         (8)
# N_REPEATS        repeats of the evaluation       (20)
# MODEL_DIR        SMPL's files; passed on         (ref_repo/MDM/body_models)
# PYTHON           interpreter                     (python3)
set -euo pipefail
cd "$(dirname "$0")/../.."

ROOT=outputs/evaluation/t2m/humanml3d_official_test
NAME=mogents_ts10_cfg4_rescfg5_seed0
PRED263=${PRED263:-$ROOT/hml263/$NAME}
SMPL135=${SMPL135:-$ROOT/motion135/${NAME}_ik80}
PRED272=${PRED272:-$ROOT/ms272/${NAME}_ik80}
METRICS=${METRICS:-$PRED272/metrics}
LOGDIR=${LOGDIR:-$PRED272/logs}
NUM_SHARDS=${NUM_SHARDS:-8}
NUM_GPUS=${NUM_GPUS:-8}
CONVERT_WORKERS=${CONVERT_WORKERS:-8}
N_REPEATS=${N_REPEATS:-20}
MODEL_DIR=${MODEL_DIR:-ref_repo/MDM/body_models}
PYTHON=${PYTHON:-python3}
export PRED263 SMPL135 PRED272 METRICS LOGDIR NUM_SHARDS NUM_GPUS CONVERT_WORKERS N_REPEATS
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

mkdir -p "$SMPL135" "$PRED272" "$METRICS" "$LOGDIR"
printf '%q ' env PRED263="$PRED263" SMPL135="$SMPL135" PRED272="$PRED272" METRICS="$METRICS" LOGDIR="$LOGDIR" \
    NUM_SHARDS="$NUM_SHARDS" NUM_GPUS="$NUM_GPUS" CONVERT_WORKERS="$CONVERT_WORKERS" N_REPEATS="$N_REPEATS" \
    bash "$0" >"$LOGDIR/command.txt"
"$PYTHON" scripts/eval/chain_records.py config "$LOGDIR/run_config.json"

pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' INT TERM
for ((shard = 0; shard < NUM_SHARDS; shard++)); do
    device=cpu
    if ((NUM_GPUS > 0)); then device="cuda:$((shard % NUM_GPUS))"; fi
    "$PYTHON" scripts/eval/hml263_to_smpl_ik.py --in-dir "$PRED263" --out-dir "$SMPL135" --model-dir "$MODEL_DIR" \
        --source-fps 20 --target-fps 30 --floor-align --refine-iters 80 --refine-lr 0.02 --device "$device" \
        --num-shards "$NUM_SHARDS" --shard-index "$shard" --skip-existing --leave-with-parent >"$LOGDIR/ik_$shard.log" 2>&1 &
    pids+=($!)
done
failed=0
for shard in "${!pids[@]}"; do
    if ! wait "${pids[$shard]}"; then
        echo "shard $shard failed; its last words, of $LOGDIR/ik_$shard.log:" >&2
        tail -n 3 "$LOGDIR/ik_$shard.log" >&2
        failed=1
    fi
done
if ((failed)); then exit 1; fi

"$PYTHON" scripts/data/convert_motion135_to_h3d272.py --in-dir "$SMPL135" --out-dir "$PRED272" \
    --workers "$CONVERT_WORKERS" --skip-existing --leave-with-parent 2>&1 | tee "$LOGDIR/convert.log"

"$PYTHON" scripts/eval/chain_records.py summary "$METRICS/run_summary.json"
"$PYTHON" scripts/eval/verify_evaluators.py --which ms272 --ms272-pred "$PRED272" --n-repeats "$N_REPEATS" \
    --out-dir "$METRICS" 2>&1 | tee "$LOGDIR/metrics.log"
"$PYTHON" scripts/eval/chain_records.py summary "$METRICS/run_summary.json"
