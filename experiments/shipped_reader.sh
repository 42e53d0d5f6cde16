#!/usr/bin/env bash
# The commands that made the shipped reader of actions (inverse dynamics of the twin's Panda) and the figures of it, in
# order. Each resumes where it was stopped. On 2 CPU cores about two hours; WORK takes about 12 GB.
# LIFT is where shipped_lift.sh left its data.
set -euo pipefail
work=${WORK:-runs/reader}
lift=$(realpath "${LIFT:-runs/lift}")
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$work"
cd "$work"

# What it learns from: everything that the twin's hand was ever seen to do, well and badly.
cosmos-sim collect --task Tabletop --split seen --episodes 350 --seed 60 --out tabletop
cosmos-sim train idm --data "$lift/lift" "$lift/explore" "$lift/demos" tabletop --out reader \
    --resolution 128 --width 16 --dim 96 --blocks 2 --batch-size 16 --steps 9000 --lr 1.2e-3

# What it is judged by: collections that it has not seen.
cosmos-sim collect --task Lift --episodes 100 --length 60 --seed 91 --out lift_held
cosmos-sim collect --task Tabletop --split seen --episodes 60 --seed 93 --out tabletop_held
python "$here/inverse_dynamics.py" --data lift_held --reader panda=reader/export --floor "$lift/lift" "$lift/demos" \
    --json inverse_dynamics_lift.json
python "$here/inverse_dynamics.py" --data tabletop_held --reader panda=reader/export --floor tabletop \
    --json inverse_dynamics_tabletop.json

# Its folder is the shipped world's `inverse_dynamics`. Trust in that world is calibrated on episodes that neither has seen.
python "$here/trust.py" --world lift --inverse-dynamics reader/export --data lift_held --write reader/export
