#!/usr/bin/env bash
# The first GPU of a machine: is everything right on it, and how fast? No network, under ten minutes; every step
# has a limit, none stops the others, one table stands at the end. Status 1 if anything failed.
#
#   benchmarks/gpu.sh                                  # on the GPU
#   DEVICE=cpu QUICK=1 benchmarks/gpu.sh               # what of it a CPU has, in some minutes
#   PEERS="--peer nequip=/venvs/nequip/bin/python" benchmarks/gpu.sh
#
# PYTHON names the interpreter (python), OUT a folder for logs and figures (a new one below TMPDIR).
set -uo pipefail
cd "$(dirname "$0")/.."
device=${DEVICE:-cuda} python=${PYTHON:-python} out=${OUT:-$(mktemp -d)}
quick=${QUICK:+--quick}
read -r -a peers <<<"${PEERS:-}"
mkdir -p "$out" && out=$(cd "$out" && pwd)
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" WANDB_MODE=offline HF_HUB_OFFLINE=1
rm -f "$out"/*.json
failed=0 began=$SECONDS

step() { # step NAME LIMIT COMMAND…: its output goes to a log, a line of the table to a file
  local name=$1 limit=$2 start=$SECONDS status=0
  shift 2
  echo "── $name (at most $limit s): $*"
  timeout --kill-after=10 "$limit" "$@" >"$out/$name.log" 2>&1 || status=$?
  tail -n "${TAIL:-12}" "$out/$name.log" | cut -c1-160
  local passed=true found="$((SECONDS - start)) s"
  if [ "$status" != 0 ]; then
    passed=false failed=1 found="$found, status $status$([ "$status" = 124 ] && echo ' (its limit)'): $out/$name.log"
  fi
  printf '[{"what": "%s", "how": "%s", "found": "%s", "passed": %s}]\n' "$name" "$device" "$found" "$passed" \
    >"$out/0-$name.json"
}

if [ "$device" = cuda ]; then
  step devices 20 "$python" -c 'import torch; torch.zeros(1, device="cuda"); print(torch.cuda.get_device_properties(0))'
  step tests 130 "$python" -m pytest -q -n 0 -p no:cacheprovider -m gpu tests/gpu
  precisions=32,tf32,bf16-mixed,16-mixed
else
  step tests 130 "$python" -m pytest -q -n 0 -p no:cacheprovider -m "not gpu and not slow" tests/gpu
  precisions=32
  export CHEMSCALE_COMPILE_BACKEND=${CHEMSCALE_COMPILE_BACKEND:-aot_eager} # making code takes minutes on a CPU
fi
step versions 30 "$python" -m chemscale --version
step certificate 60 "$python" -m chemscale.certify --accelerator "$device" --worlds 1 --strategies zero1 --accumulate 4 \
  --models "${MODELS:-chemgpt,painn}" --precisions "$precisions" --corpora "$out/corpora" --structures "$out/structures"
step losses 90 "$python" benchmarks/first_gpu.py losses --device "$device" ${quick:+"$quick"} --json "$out/2-losses.json"
step steps 60 "$python" benchmarks/first_gpu.py steps --device "$device" ${quick:+"$quick"} --json "$out/3-steps.json"
for precision in ${PRECISIONS:-$([ "$device" = cuda ] && echo bf16-mixed || echo 32)}; do
  step "bench-$precision" 200 "$python" -m chemscale.bench --device "$device" ${quick:+"$quick"} --precision "$precision" \
    "${peers[@]}" --json "$out/4-bench-$precision.json"
done

"$python" benchmarks/first_gpu.py table "$out" | tee "$out/table.txt"
[ "${PIPESTATUS[0]}" = 0 ] || failed=1
echo "$((SECONDS - began)) s. Logs, figures and this table: $out"
exit "$failed"
