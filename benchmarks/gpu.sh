#!/usr/bin/env bash
# The first GPU of a machine: is everything right on it, and how fast? No network, under ten minutes; every step
# has a limit, none stops the others, one table stands at the end. Status 1 if anything failed.
#
#   benchmarks/gpu.sh                                  # on the GPU
#   DEVICE=cpu QUICK=1 benchmarks/gpu.sh               # what of it a CPU has, in some minutes
#   PEERS="--peer nequip=/venvs/nequip/bin/python" benchmarks/gpu.sh
#
# PYTHON names the interpreter (python), OUT a folder for logs and figures (a new one below TMPDIR), PATIENCE a factor
# of the limits (4 on a CPU; on a GPU 1 keeps it below ten minutes).
# With PATIENCE=4 WORK=painn,schnet,spookynet,nequip-l1,nequip-l2,allegro-l1,allegro-l2,mace every potential is compiled too.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
device=${DEVICE:-cuda} python=${PYTHON:-python} out=${OUT:-$(mktemp -d)}
quick=${QUICK:+--quick} patience=${PATIENCE:-$([ "${DEVICE:-cuda}" = cpu ] && echo 4 || echo 1)}
read -r -a peers <<<"${PEERS:-}"
mkdir -p "$out" && out=$(cd "$out" && pwd)
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" WANDB_MODE=offline HF_HUB_OFFLINE=1
rm -f "$out"/*.json
failed=0 began=$SECONDS

step() { # step NAME LIMIT COMMAND…: its output goes to a log, a line of the table to a file
  local name=$1 limit=$(($2 * patience)) start=$SECONDS status=0
  shift 2
  echo "── $name (at most $limit s): $*"
  timeout --kill-after=10 "$limit" "$@" >"$out/$name.log" 2>&1 || status=$?
  tail -n "${TAIL:-12}" "$out/$name.log"
  local passed=true found="$((SECONDS - start)) s"
  if [ "$status" != 0 ]; then
    passed=false failed=1 found="$found, status $status$([ "$status" = 124 ] && echo ' (its limit)'): $out/$name.log"
  fi
  printf '[{"what": "%s", "how": "%s", "found": "%s", "passed": %s}]\n' "$name" "$device" "$found" "$passed" \
    >"$out/0-$name.json"
}

if [ "$device" = cuda ]; then
  step devices 20 "$python" -c 'import torch; torch.zeros(1, device="cuda"); print(torch.cuda.get_device_properties(0))'
  step tests 150 "$python" -m pytest -q -n 0 -p no:cacheprovider -m gpu tests/gpu
  precisions=32,tf32,bf16-mixed,16-mixed
else
  step tests 120 "$python" -m pytest -q -n 0 -p no:cacheprovider -m "not gpu and not slow" tests/gpu
  precisions=32
  export CHEMSCALE_COMPILE_BACKEND=${CHEMSCALE_COMPILE_BACKEND:-aot_eager} # making code takes minutes on a CPU
fi
step versions 20 "$python" -m chemscale --version
step certificate 70 "$python" -m chemscale.certify --accelerator "$device" --worlds 1 --strategies zero1 --accumulate 4 \
  --models "${MODELS:-chemgpt,painn}" --precisions "$precisions" --corpora "$out/corpora" --structures "$out/structures"
step losses 80 "$python" benchmarks/first_gpu.py losses --device "$device" ${quick:+"$quick"} --json "$out/2-losses.json"
step steps 60 "$python" benchmarks/first_gpu.py steps --device "$device" ${quick:+"$quick"} --json "$out/3-steps.json"
bench() { # bench NAME LIMIT ARGUMENT…
  local name=$1 limit=$2
  shift 2
  step "bench-$name" "$limit" "$python" -m chemscale.bench --device "$device" ${quick:+"$quick"} --turns 3 --seconds 1 \
    --json "$out/4-bench-$name.json" "$@"
}
if [ "$device" = cuda ]; then
  bench language 90 --precision bf16-mixed --tokens 16384 --work chemgpt-4.7m,chemgpt-19m,chemgpt-350m,chemgpt-1.2b
  bench potentials 100 --work "${WORK:-painn,nequip-l2,mace}" "${peers[@]}"
else
  bench language 100 --ours eager --work chemgpt-4.7m
  bench potentials 110 --ours eager --work painn "${peers[@]}"
fi

"$python" benchmarks/first_gpu.py table "$out" | tee "$out/table.txt"
[ "${PIPESTATUS[0]}" = 0 ] || failed=1
echo "$((SECONDS - began)) s. Logs, figures and this table: $out"
exit "$failed"
