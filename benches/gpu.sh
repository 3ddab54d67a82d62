#!/usr/bin/env bash
# Tests and times sememe on this machine's GPU, and writes benches/results/gpu-<adapter>-<date>.md.
#
#   benches/gpu.sh            the GPU tests, all kernels at full size, PyTorch beside them if python3 has torch
#   benches/gpu.sh --small    small shapes, in a minute or two; a software device will do. Checks this script, not speed.
#
# From the environment, all optional:
#   SEMEME_PEAK_TFLOPS  the GPU's f32 FMA peak, for shares of it (say 60 for 60 TFLOP/s)
#   SEMEME_ASSIGN       kernels of `assign` to time: Auto,Tiles,Subgroup,SplitF16,Matrix (default: all that the device has)
#   SEMEME_SUITE        a built test program (target/*/deps/suite-*), where there is no cargo
#   SEMEME_KERNELS      a built bench program (target/release/deps/kernels-*), where there is no cargo
#   SEMEME_RQVAE        a built bench program (target/release/deps/rqvae-*), where there is no cargo
#   SEMEME_RESULTS      folder for the result file
#   SEMEME_COMMIT       the commit, where there is no git
#   PYTHON              the Python to ask for torch (default python3)
#
# Build both programs elsewhere with: cargo test --release --no-run -p sememe --test suite; cargo bench -p sememe --no-run --bench kernels --bench rqvae
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
cd "$root"

small=
case "${1:-}" in
    '') ;;
    --small) small=1 ;;
    *)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        [[ $1 == -h || $1 == --help ]] && exit 0
        exit 2
        ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SEMEME_GPU=require
[[ -z $small ]] || export SEMEME_SMALL=1

echo "== GPU tests"
if [[ -n ${SEMEME_SUITE:-} ]]; then
    suite=("$SEMEME_SUITE")
else
    suite=(cargo test --release -p sememe --test suite --)
fi
"${suite[@]}" parity codec tensors quantisers gradients rqvae 2>&1 | tee "$work/suite"

echo "== kernels"
# Criterion's --test runs every bench once: enough to see that the script works.
if [[ -n ${SEMEME_KERNELS:-} ]]; then
    kernels=("$SEMEME_KERNELS" --bench)
else
    kernels=(cargo bench -p sememe --bench kernels --)
fi
[[ -z $small ]] || kernels+=(--test)
"${kernels[@]}" 2>&1 | tee "$work/kernels"

echo "== RQ-VAE"
if [[ -n ${SEMEME_RQVAE:-} ]]; then
    rqvae=("$SEMEME_RQVAE" --sweep)
else
    rqvae=(cargo bench -p sememe --bench rqvae -- --sweep)
fi
[[ -z $small ]] || rqvae+=(--small)
"${rqvae[@]}" 2>&1 | tee "$work/rqvae"

echo "== PyTorch"
python=${PYTHON:-python3}
if "$python" -c 'import torch' 2>"$work/torch-missing"; then
    "$python" benches/peers/gpu_assign.py ${small:+--small} 2>&1 | tee "$work/torch" || echo "RESULT torch failed" >>"$work/torch"
    "$python" benches/peers/gpu_rqvae.py ${small:+--small} 2>&1 | tee -a "$work/torch" || echo "RESULT torch failed" >>"$work/torch"
else
    echo "RESULT no PyTorch on this machine: no comparison" | tee "$work/torch"
fi

adapter=$(sed -n 's/^ADAPTER //p' "$work/kernels" | head -n 1)
if [[ -z $adapter ]]; then
    echo "no adapter was timed, so there is nothing to write" >&2
    exit 1
fi
slug=$(printf '%s' "${adapter%% (*}" | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9' '-' | sed 's/^-//;s/-$//')
folder=${SEMEME_RESULTS:-$here/results}
mkdir -p "$folder"
date=$(date -u +%Y-%m-%d)
file=$folder/gpu-$slug-$date${small:+-small}.md
commit=${SEMEME_COMMIT:-$(git describe --always --dirty 2>"$work/git" || echo unknown)}
cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>"$work/cpu" | head -n 1 || true)
peak="not given"
[[ -z ${SEMEME_PEAK_TFLOPS:-} ]] || peak="$SEMEME_PEAK_TFLOPS TFLOP/s, as given"
results() { sed -n 's/^RESULT /- /p' "$1"; }
{
    echo "# sememe on ${adapter%% (*}"
    echo
    if [[ -n $small ]]; then
        echo "**Small shapes, one round each: a check of the script. None of these figures says how fast anything is.**"
        echo
    fi
    echo "- adapter: $adapter"
    echo "- date: $date; commit: $commit"
    echo "- machine: $(uname -sm), $(getconf _NPROCESSORS_ONLN) cores${cpu:+, $cpu}"
    echo "- f32 FMA peak: $peak"
    echo
    echo "## Tests"
    echo
    grep -E '^(test result|skipped)' "$work/suite" | sort | uniq -c | sed 's/^ *\([0-9]*\) /- \1 × /'
    echo
    echo "## Kernels"
    echo
    results "$work/kernels"
    echo
    echo "Rates are 2·n·d·k over the time of one \`assign\`; each was checked against f64 on sampled rows first."
    if grep -q '^ *time:' "$work/kernels"; then
        echo
        echo '```'
        grep -E '^kernels/|time:' "$work/kernels"
        echo '```'
    fi
    echo
    echo "## RQ-VAE"
    echo
    results "$work/rqvae"
    echo
    echo "## PyTorch, same machine, same run"
    echo
    results "$work/torch"
} >"$file"
echo "wrote $file"
