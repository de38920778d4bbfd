#!/bin/sh
# install.sh WHAT: install WHAT (`.` or `.[test]`), editable, into the virtual environment .venv, made if need be.
# PYTHON chooses the interpreter. Without an NVIDIA GPU, Linux gets the CPU build of PyTorch.
set -eu
what=$1
python=.venv/bin/python

fail() {
    echo "taichi-nerf: $1" >&2
    exit 2
}

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

pip() {
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install --quiet -c constraints.txt "$@"
}

if ! "$python" -m pip --version >/dev/null 2>&1; then
    found=
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10 python}; do
        if supported "$candidate"; then
            found=$candidate
            break
        fi
    done
    [ -n "$found" ] || fail "Python 3.10 to 3.13 is needed, and ${PYTHON:-python3} is missing or of another version; \
install one, or name it: make PYTHON=/path/to/python3.12"
    "$found" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$found cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"
    echo "Making .venv with $("$found" --version)"
    "$found" -m venv .venv
fi
supported "$python" || fail ".venv holds $("$python" --version), and Python 3.10 to 3.13 is needed; remove .venv"

echo "Installing $what into .venv; the first time this takes a few minutes"
torch=$(sed -n 's/^torch==//p' constraints.txt)
if [ "$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1; then
    # The CPU build has a version of its own. Package sources other than PyTorch's index seldom have it.
    pip "torch==$torch+cpu" 2>/dev/null ||
        pip "torch==$torch+cpu" --index-url https://download.pytorch.org/whl/cpu ||
        fail "the CPU build of PyTorch could not be installed from https://download.pytorch.org/whl/cpu; see above"
fi
pip -e "$what"

trouble=$("$python" -c 'import taichi' 2>&1 >/dev/null) || case $trouble in
*libX11*) fail "Taichi needs the library libX11; on Debian and Ubuntu: apt install libx11-6" ;;
*) fail "Taichi does not start: $trouble" ;;
esac
