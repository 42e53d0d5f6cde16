#!/usr/bin/env bash
# The study of dreams on Lift, in order: a world that is told what to do, a reader of its proprioception, and
# dreamgen.py with both. Each resumes where it was stopped. On 2 CPU cores about three hours, most of it policies.
# LIFT is where shipped_lift.sh left its data.
set -euo pipefail
work=${WORK:-runs/dreams_lift}
lift=$(realpath "${LIFT:-runs/lift}")
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$work"
cd "$work"

# The shipped world of actions goes on, on experts, as one that is told: 16 minutes on two cores.
cosmos-sim collect --task Lift --episodes 400 --seed 63 --length 45 --skills expert=1 --out experts
cosmos-sim train world --data experts --init lift --instructed --out told --rollouts 1 8 24 --stages 150 500 --steps 1200 \
    --lr 4e-4 --warmup 50 --ema .99 --busy 1 --seed 5 --eval-every 300 --save-every 100 --horizon 45

# What reads actions off the proprioception that it imagines: five minutes on one core.
cosmos-sim train idm --data "$lift/demos" "$lift/lift" "$lift/explore" --no-frames --state --out reader \
    --dim 128 --blocks 3 --batch-size 64 --steps 3000 --lr 1e-3 --eval-every 1500

python "$here/dreamgen.py" --task Lift --model told/export --labeller reader/export --out study --demonstrations 10 30 \
    --dreams 200 --frames 29 --arms real unfiltered filtered dreams --seeds 2 --trials 50 --horizon 60 --steps 3000 --workers 2 \
    --json "$here/dreamgen_lift.json" --picture "$here/../docs/media/dreamgen_lift.svg" --dream --world lift

# Further dreams, to try a limit on that was chosen on the first; and the first with their actions read off the frames
# alone, by the shipped reader.
dream="cosmos-sim dream --dataset study/demonstrations --model told/export --frames 29 --starts twin --twin Lift --unfiltered \
    --limit replay=2 --world lift"
$dream --labeller reader/export --out further --per-instruction 200 --seed 1
$dream --labeller inverse_dynamics --out frames_alone --per-instruction 100
