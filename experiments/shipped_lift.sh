#!/usr/bin/env bash
# Everything that made the shipped Lift world and policies, from nothing. Each command resumes where it was stopped.
# On 2 CPU cores about three hours; WORK takes about 5 GB.
set -euo pipefail
work=${WORK:-runs/lift}
mkdir -p "$work"

cosmos-sim collect --task Lift --episodes 480 --length 60 --seed 0 --out "$work/data"
cosmos-sim train tokenizer --data "$work/data" --out "$work/tokenizer" --steps 3500
cosmos-sim train world --data "$work/data" --tokenizer "$work/tokenizer/export" --out "$work/world" --twin Lift
