#!/usr/bin/env bash
# The study of dreams on the tabletop, in order: three verbs, unseen objects, behaviours and environments. Each command
# resumes where it was stopped. On 2 slow CPU cores about three hours.
set -euo pipefail
work=${WORK:-runs/dreams_tabletop}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$work"
cd "$work"
verbs=(lift "push left" "push right")

# What the world learns from, and mixed Lift episodes beside them for what reads actions off its proprioception.
cosmos-sim collect --task Tabletop --episodes 360 --seed 70 --length 40 --skills expert=1 --verbs "${verbs[@]}" --out experts
cosmos-sim collect --task Lift --episodes 150 --seed 8 --length 60 --out mixed
cosmos-sim train idm --data experts mixed --no-frames --state --out reader \
    --dim 128 --blocks 3 --batch-size 64 --steps 2500 --lr 1e-3 --eval-every 1250 --threads 1

# The Transfer world's tokenizer knows colours; the Lift world goes on with it as one that is told.
transfer=$(python -c "from importlib.resources import files; print(files('cosmos_sim') / 'weights/transfer/tokenizer')")
cosmos-sim train tokenizer --data experts --init "$transfer" --out tokenizer --batch-size 16 --steps 360 \
    --lr 5e-4 --warmup 30 --ema .98 --seed 1 --eval-every 120 --save-every 60 --threads 1
cosmos-sim train world --data experts --init lift --tokenizer tokenizer/export --instructed --out told --rollouts 1 8 24 \
    --stages 150 450 --steps 1100 --lr 5e-4 --warmup 50 --ema .99 --busy 1 --seed 5 --eval-every 550 --save-every 50 \
    --horizon 40 --threads 1

python "$here/dreamgen.py" --task Tabletop --verbs "${verbs[@]}" --model told/export --labeller reader/export --out study \
    --demonstrations 30 --dreams 4 --frames 33 --arms real filtered --seeds 1 --trials 50 --horizon 45 --steps 2000 --workers 2 \
    --json "$here/dreamgen_tabletop.json" --picture "$here/../docs/media/dreamgen_tabletop.svg"
