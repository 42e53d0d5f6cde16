#!/usr/bin/env bash
# Run a command of .venv headless and offline: scripts/run.sh cosmos-sim --help
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

export PATH="$root/.venv/bin:$PATH"
export MUJOCO_GL=${MUJOCO_GL:-$(cat .venv/mujoco-gl 2>/dev/null || echo egl)}
export HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1}
export WANDB_MODE=${WANDB_MODE:-offline}
exec "$@"
