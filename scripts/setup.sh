#!/usr/bin/env bash
# Set up .venv with the package in the exact versions of constraints.txt; nothing is done where nothing has changed.
# PYTHON names the Python 3.12 to use; without it one is looked for.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

export PIP_DISABLE_PIP_VERSION_CHECK=1
venv=$root/.venv
stamp=$venv/setup-stamp
key=$({ echo "$root" && cat pyproject.toml constraints.txt scripts/setup.sh; } | sha256sum)
if [[ -x $venv/bin/cosmos-sim && -f $stamp && $(<"$stamp") == "$key" ]]; then
  exit 0
fi

say() { echo "setup: $*" >&2; }

as_root() {
  if [[ $EUID -eq 0 ]]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
  command -v apt-get >/dev/null && { [[ $EUID -eq 0 ]] || sudo -n true 2>/dev/null; }
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Video decoding for LeRobot, rendering for the simulator, and a compiler for evdev, which robosuite needs and which has
# no wheels.
system_packages() {
  local wanted=(ffmpeg libegl1 libgl1 libgl1-mesa-dri libosmesa6 gcc libc6-dev) missing=() package
  command -v dpkg-query >/dev/null || { say "not a Debian or Ubuntu: see that ffmpeg, gcc and EGL or OSMesa are installed"; return 0; }
  for package in "${wanted[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  if may_install; then
    say "installing ${missing[*]}"
    as_root apt-get update -qq || true
    for package in "${missing[@]}"; do # one by one: a release may have dropped one of them
      apt_install "$package" || say "could not install $package; going on without it"
    done
  else
    say "missing system packages; install them with: sudo apt-get install ${missing[*]}"
  fi
}

is_python312() {
  "$1" -c 'import ssl, sys, venv; sys.exit(sys.version_info[:2] != (3, 12))' >/dev/null 2>&1
}

# A pyenv shim is on PATH even for a version that is not selected, so that a candidate counts only when it runs.
find_python() {
  local candidate
  if [[ -n ${PYTHON:-} ]]; then
    is_python312 "$PYTHON" || { say "PYTHON=$PYTHON is not a Python 3.12 that runs"; exit 1; }
    python=$PYTHON
    return 0
  fi
  for candidate in python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12*/bin/python python3 python \
    "$(uv python find --no-project 3.12 2>/dev/null)"; do
    if is_python312 "$candidate"; then
      python=$("$candidate" -c 'import sys; print(sys.executable)')
      return 0
    fi
  done
  return 1
}

has_uv() { uv --version >/dev/null 2>&1; }

# uv from PATH, else from the package index into .uv, by any Python that has venv.
get_uv() {
  local any
  export PATH="$PATH:$root/.uv/bin"
  has_uv && return 0
  for any in "${python:-}" python3; do
    rm -rf "$root/.uv"
    "$any" -m venv "$root/.uv" >/dev/null 2>&1 && "$root/.uv/bin/pip" install --quiet uv && has_uv && return 0
  done
  return 1
}

install_python() {
  if may_install && apt-cache show python3.12-venv >/dev/null 2>&1; then
    say "installing Python 3.12"
    apt_install python3.12-venv python3.12-dev
  else
    ! may_install || get_uv || apt_install python3-venv
    get_uv || return 1
    say "downloading Python 3.12 with uv"
    uv python install 3.12
  fi
}

no_python() {
  say "cosmos-sim needs Python 3.12, and none was found. Any one of these provides it:"
  say "  Ubuntu 24.04:  sudo apt-get install python3.12-venv python3.12-dev"
  say "  with uv:       uv python install 3.12"
  say "  with pyenv:    pyenv install 3.12"
  say "Then run this again, or name it: make setup PYTHON=/path/to/python3.12"
  exit 1
}

# A system's own Python may come without the headers that evdev is compiled with.
python_headers() {
  "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null && return 0
  if may_install && apt-cache show python3.12-dev >/dev/null 2>&1; then
    apt_install python3.12-dev
  else
    say "$python has no headers (Python.h); on Debian and Ubuntu: sudo apt-get install python3.12-dev"
  fi
}

make_venv() {
  python=
  if is_python312 "$venv/bin/python" && [[ -z ${PYTHON:-} ]]; then return 0; fi
  find_python || { install_python && find_python; } || no_python
  python_headers
  say "making .venv with $python"
  rm -rf "$venv"
  if get_uv; then
    uv venv --quiet --no-project --python "$python" "$venv"
  elif ! "$python" -m venv "$venv"; then
    rm -rf "$venv"
    say "Python's own venv does not work here: install it (sudo apt-get install python3.12-venv) or uv (pip install uv)"
    exit 1
  fi
}

install_package() {
  local options=(-c constraints.txt -e ".[dev]")
  if get_uv; then
    say "installing the packages with uv (about 3.6 GB the first time)"
    # As pip does: else the first command, or each one where PYTHONDONTWRITEBYTECODE is set, compiles what it imports.
    uv pip install --quiet --compile-bytecode --python "$venv/bin/python" "${options[@]}" && return 0
    say "uv failed; trying pip"
  else
    say "installing the packages with pip (about 3.6 GB the first time)"
  fi
  "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
  "$venv/bin/python" -m pip install --quiet "${options[@]}"
}

# EGL renders on a GPU, or in software through Mesa; OSMesa is the way where EGL has no driver.
choose_renderer() {
  local renderer
  for renderer in egl osmesa; do
    if MUJOCO_GL=$renderer "$venv/bin/python" -c 'import mujoco; mujoco.GLContext(64, 64).make_current()' >/dev/null 2>&1; then
      echo "$renderer" >"$venv/mujoco-gl"
      return 0
    fi
  done
  say "neither EGL nor OSMesa works: the learned world runs, the simulator twin cannot draw"
}

rm -f "$stamp"
system_packages
make_venv
install_package
choose_renderer
echo "$key" >"$stamp"
say "done; activate with: source .venv/bin/activate"
