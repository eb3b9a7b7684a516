#!/usr/bin/env bash
# Makes a virtual environment in the clone from pinned wheels; does nothing when it is there and its pins are the same.
# usage: scripts/venv.sh [conformance|lint]      .venv from requirements-conformance.txt, .venv-lint from requirements-lint.txt
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:-conformance}
case $kind in
  conformance) folder=.venv ;;
  lint) folder=.venv-lint ;;
  *) echo "venv.sh: there is no environment '$kind'; give conformance or lint" >&2; exit 2 ;;
esac
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "venv.sh: $("$python" --version) is too old (the pinned readers need Python 3.11); set PYTHON to a newer one" >&2
  exit 1
}
stamp=$({ "$python" --version; cat "scripts/requirements-$kind.txt"; } | sha256sum | cut -d' ' -f1)
[ "$(cat "$folder/stamp" 2>/dev/null)" = "$stamp" ] && exit 0
echo "venv.sh: installing the pinned packages of requirements-$kind.txt into $folder"
rm -rf "$folder"
"$python" -m venv "$folder"
for try in 1 2 3; do
  "$folder/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir --no-compile -r "scripts/requirements-$kind.txt" && break
  [ $try -lt 3 ] || exit 1
  echo "venv.sh: not all packages came; once more in 20 s"
  sleep 20
done
echo "$stamp" > "$folder/stamp"
