#!/usr/bin/env bash
# The commands that made the shipped Lift world and policies, in order. Each resumes where it was stopped.
# On 2 CPU cores about two hours; WORK takes about 6 GB.
#
# What was shipped came from these commands while the code still moved: the data from commit 7f671df (the scripted "random"
# skill has explored more since), the first tokenizer run from 2728f21, before training bypassed the decoder's clamp
# (which is why a second run trains the decoder alone). Run today they give the same kind of world, not the same bits.
set -euo pipefail
work=${WORK:-runs/lift}
mkdir -p "$work"
cd "$work"

cosmos-sim collect --task Lift --episodes 480 --length 60 --seed 0 --out lift
cosmos-sim train tokenizer --data lift --out tokenizer --steps 2500
cosmos-sim train tokenizer --data lift --out decoder --init tokenizer/export --decoder-only \
    --steps 600 --lr 5e-4 --warmup 50 --ema 0.99 --seed 1
cosmos-sim train world --data lift --tokenizer decoder/export --out world --twin Lift \
    --steps 1800 --rollout-from 900 --lr 8e-4 --warmup 100 --ema 0.995 --pure-noise 0.6

cosmos-sim train policy --data lift --out lift-good --skills expert --steps 2400 --seed 1
cosmos-sim train policy --data lift --out lift-middling --skills expert --demonstrations 10 --steps 500 --seed 2
cosmos-sim train policy --data lift --out lift-poor --kind regression --skills clumsy --demonstrations 10 --steps 400 --seed 3

cosmos-sim inspect --world lift --data lift --out inspect_lift.json        # the README's table
cosmos-sim evaluate --truth twin --episodes 10 --out demo                  # what make demo runs
