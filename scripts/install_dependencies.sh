#!/usr/bin/env bash
# Installs the distribution packages that Lacuna is built from, on Debian 12 or Ubuntu 24.04. Does nothing when all are there,
# so it works offline then.
#   scripts/install_dependencies.sh [--oracles]     --oracles: also PyTorch (CPU) and SciPy, which some tests compare with
set -euo pipefail

packages=(build-essential cmake ninja-build ccache libeigen3-dev libcli11-dev libyaml-cpp-dev libfmt-dev
  nlohmann-json3-dev libjpeg-dev libpng-dev zlib1g-dev libgtest-dev libbenchmark-dev python3)
optional=(libdnnl-dev)  # oneDNN: faster dense CPU products; Eigen serves without it
if [ "${1:-}" = "--oracles" ]; then optional+=(python3-torch python3-scipy); fi

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
echo "install_dependencies: done"
