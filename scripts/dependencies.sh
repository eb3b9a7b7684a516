#!/usr/bin/env bash
# Installs the distribution's packages that the build (and with --tests, the tests) need and that are missing.
# Verified on Debian 12; Ubuntu 22.04 and 24.04 by package names, unverified. As root or with sudo.
# usage: scripts/dependencies.sh [--tests] [--list]      --list only prints the missing packages
set -euo pipefail

packages=(cmake ninja-build g++ ccache pkg-config python3 libopenmpi-dev openmpi-bin libhdf5-dev libboost-program-options-dev
  libyaml-cpp-dev nlohmann-json3-dev libpcre2-dev libicu-dev libsentencepiece-dev libspdlog-dev libfmt-dev libssl-dev
  libxxhash-dev libopenblas-pthread-dev liblapacke-dev libdnnl-dev libgtest-dev libgmock-dev libbenchmark-dev)
list=no
for argument in "$@"; do
  case $argument in
    --tests) packages+=(python3-venv python3-dev clang-14 libclang-rt-14-dev slurm-wlm munge shellcheck time zsh fish) ;;
    --list) list=yes ;;
    *) echo "dependencies.sh: unknown argument '$argument'" >&2; exit 2 ;;
  esac
done

command -v dpkg-query >/dev/null || {
  echo "dependencies.sh: this is not Debian or Ubuntu; install what corresponds to: ${packages[*]}" >&2
  exit 1
}
installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null | sed -n 's/^installed //p') || true
missing=()
for package in "${packages[@]}"; do
  grep -qxF "$package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ $list = yes ]; then
  printf '%s\n' "${missing[@]}"
  exit 0
fi
# shellcheck source=/dev/null
case $(. /etc/os-release && echo "$ID $VERSION_ID") in
  "debian 12") ;;
  *) echo "dependencies.sh: package names were verified on Debian 12 only; going on" >&2 ;;
esac
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "dependencies.sh: run it as root or install sudo; missing: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "dependencies.sh: installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
