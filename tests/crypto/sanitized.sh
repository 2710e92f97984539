#!/usr/bin/env bash
# Runs tests/crypto with the C core built by gcc with AddressSanitizer and UndefinedBehaviorSanitizer.
#
#     tests/crypto/sanitized.sh [pytest's arguments]
#
# Works on a copy, so the core in the tree does not change. Turns off Python's own allocator, so that ASan detects accesses
# outside of buffers that Python owns. Does not look for leaks, because Python itself leaks at exit.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-$PWD/.venv/bin/python}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r build.py setup.py pyproject.toml native kms_grpc tests "$copy"
cd "$copy"
rm -f kms_grpc/crypto/_native*.so

export KMS_GRPC_SANITIZED=1 CC=gcc PYTHONPATH=$copy PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1
export CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g"
export LDFLAGS="-fsanitize=address,undefined"
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:abort_on_error=1:strict_string_checks=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
"$python" build.py --core
"$python" -m tests.crypto.core_with_nonces # built now, because a compiler must not run under the preloaded ASan

nm -D kms_grpc/crypto/_native*.so | grep __asan_init >/dev/null # fails if the core was built without ASan
LD_PRELOAD=$(gcc -print-file-name=libasan.so) "$python" -m pytest -p no:cacheprovider -q --confcutdir=tests/crypto tests/crypto "$@"
