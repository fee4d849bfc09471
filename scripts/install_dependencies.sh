#!/usr/bin/env bash
# Installs the distribution packages that Lacuna is built from, on Debian 12 or Ubuntu 24.04. Does nothing when all are there,
# so it works offline then.
#   scripts/install_dependencies.sh [--oracles]     --oracles: also PyTorch (CPU) and SciPy, which some tests compare with, and
#                                                   ONNX Runtime (CPU), from PyPI, in an environment of its own, .oracles/
set -euo pipefail

packages=(build-essential cmake ninja-build ccache libeigen3-dev libcli11-dev libyaml-cpp-dev libfmt-dev
  nlohmann-json3-dev libjpeg-dev libpng-dev zlib1g-dev libgtest-dev libbenchmark-dev python3)
optional=(libdnnl-dev)  # oneDNN: faster dense CPU products; Eigen serves without it
with_oracles=false
if [ "${1:-}" = "--oracles" ]; then
  with_oracles=true
  optional+=(python3-torch python3-scipy python3-venv)
fi

# Not in the distribution, so from PyPI, and kept apart from the system's Python. Tests that lack it are skipped.
onnx_oracle() {
  local home
  home="$(cd "$(dirname "$0")/.." && pwd)/.oracles"
  if "$home/bin/python" -c 'import onnx, onnxruntime' 2>/dev/null; then return; fi
  echo "install_dependencies: installing onnx and onnxruntime in $home"
  if ! { python3 -m venv "$home" && "$home/bin/python" -m pip install -q 'numpy<2' onnx==1.16.2 onnxruntime==1.18.1; }; then
    rm -rf "$home"
    echo "install_dependencies: onnxruntime is not to be had; going on without it" >&2
  fi
}
finish() {
  if $with_oracles; then onnx_oracle; fi
}

is_installed() { dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

if ! command -v dpkg-query >/dev/null; then
  echo "install_dependencies: this is not Debian or Ubuntu. Install by hand: ${packages[*]} (optional: ${optional[*]})" >&2
  exit 1
fi
missing=() missing_optional=()
for p in "${packages[@]}"; do is_installed "$p" || missing+=("$p"); done
for p in "${optional[@]}"; do is_installed "$p" || missing_optional+=("$p"); done
if [ ${#missing[@]} -eq 0 ] && [ ${#missing_optional[@]} -eq 0 ]; then
  echo "install_dependencies: all packages are there"
  finish
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null; then as_root=(sudo); else
    echo "install_dependencies: missing ${missing[*]} ${missing_optional[*]}; run as root, or install sudo" >&2
    [ ${#missing[@]} -eq 0 ] && exit 0 || exit 1
  fi
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@"; }

echo "install_dependencies: installing ${missing[*]} ${missing_optional[*]}"
apt update >/dev/null || echo "install_dependencies: package lists could not be refreshed (offline?); trying with what is there" >&2
if [ ${#missing[@]} -gt 0 ]; then apt install -y --no-install-recommends "${missing[@]}" >/dev/null; fi
for p in "${missing_optional[@]}"; do
  apt install -y --no-install-recommends "$p" >/dev/null || echo "install_dependencies: optional package $p is not to be had; going on without it" >&2
done
finish
echo "install_dependencies: done"
