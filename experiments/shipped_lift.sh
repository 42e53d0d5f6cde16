#!/usr/bin/env bash
# The commands that made the shipped Lift world and policies, in order. Each resumes where it was stopped.
# On 2 CPU cores about four hours, one of them the world's two; WORK takes about 12 GB.
#
# What was shipped came from these commands while the code still moved: the first collection from commit 7f671df (the
# scripted "random" skill has explored more since), the first tokenizer run from 2728f21, before training bypassed the
# decoder's clamp (which is why a second run trains the decoder alone), the first world from 4acf5ca, when rollouts were
# not yet carried from step to step, the last one from e9eb0bc. Run today they give the same kind of world, not the same
# bits.
set -euo pipefail
work=${WORK:-runs/lift}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$work"
cd "$work"

# What the world learns from: everything a policy may do, and motion without a purpose. LeRobot joins the two.
cosmos-sim collect --task Lift --episodes 480 --length 60 --seed 0 --out lift
cosmos-sim collect --task Lift --episodes 300 --length 60 --seed 1 --out explore \
    --skills expert=.1,noisy=.2,clumsy=.3,wrong=.15,random=.25
[ -d world-data ] || lerobot-edit-dataset --operation.type merge --operation.repo_ids "['lift', 'explore']" \
    --operation.roots "['lift', 'explore']" --new_repo_id world-data --new_root world-data

cosmos-sim train tokenizer --data lift --out tokenizer --steps 2500
cosmos-sim train tokenizer --data lift --out decoder --init tokenizer/export --decoder-only \
    --steps 600 --lr 5e-4 --warmup 50 --ema 0.99 --seed 1
cosmos-sim train world --data world-data --tokenizer decoder/export --out first --twin Lift --steps 7000 \
    --rollouts 1 4 8 --stages 2400 5000 --lr 8e-4 --warmup 100 --ema 0.998 --pure-noise 0.6

# Learned policies fail in other ways than scripted ones: seven of them, trained on the world's own data and not in the
# study below, act in the simulator, and the world goes on from where it was, with rollouts of its own frames.
python "$here/policies.py" --scouts --data lift --out scouts
actors=
for i in 1 2 3 4 5; do actors+=scouts/scout-$i/export=.115,; done
for i in 6 7; do actors+=lerobot:scouts/scout-$i/export=.115,; done
cosmos-sim collect --task Lift --episodes 400 --length 60 --seed 3 --out scouted --skills "${actors}random=.195"
[ -d met ] || lerobot-edit-dataset --operation.type merge --operation.repo_ids "['explore', 'scouted']" \
    --operation.roots "['explore', 'scouted']" --new_repo_id met --new_root met
cosmos-sim train world --data met --init first/export --out world --twin Lift --steps 1400 \
    --rollouts 8 --lr 2.5e-4 --warmup 100 --ema 0.99 --seed 4

# What it is judged by: a collection that no world has seen, the policies trained on it, a reader of the hand's position.
cosmos-sim collect --task Lift --episodes 440 --length 60 --seed 2 --out demos \
    --skills expert=.6,noisy=.12,clumsy=.16,wrong=.05,random=.07
python "$here/policies.py" --data demos --out policies
cosmos-sim train reader --data lift explore --twin Lift --out reader

cosmos-sim inspect --world lift --data demos --all-episodes --episodes 100 --reader reader/export --out inspect_lift.json
python "$here/agreement.py" --policies policies --world lift --out agreement
python "$here/endurance.py" --world lift --reader reader/export
cosmos-sim evaluate --truth twin --episodes 10 --out demo                  # what make demo runs
