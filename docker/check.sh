#!/usr/bin/env bash
# What can be seen of the images without a container engine: the files are linted, and the steps of the CPU image run
# in a clean Debian (debootstrap, chroot) with their real packages, in the order of the Dockerfile. Needs root.
#
#   docker/check.sh [FOLDER]    FOLDER is for the two roots (2 to 10 GB); without it they are made in /tmp and removed
#
# TORCH_BACKEND and COMPILER as install.sh takes them (cpu; "" for CUDA). With WHEELS, a folder of local wheels, torch comes from there
# or from PyPI. Proxies, certificates and settings of pip and uv are lent to the roots while it runs.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "docker/check.sh: debootstrap and chroot need root." >&2; exit 2; }

WHEELS=${WHEELS:-${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}}
[ -n "${TORCH_BACKEND+set}" ] || TORCH_BACKEND=$([ -n "$WHEELS" ] || echo cpu)
SUITE=$(sed -n 's/^ARG BASE=debian:\([0-9]*\)\..*/\1/p' docker/Dockerfile | sed 's/^12$/bookworm/; s/^13$/trixie/')
work=${1:-$(mktemp -d)}
mkdir -p "$work"
# Mounts are this process's own and end with it.
[ -n "${CHECK_UNSHARED:-}" ] || exec env CHECK_UNSHARED=1 WHEELS="$WHEELS" TORCH_BACKEND="$TORCH_BACKEND" \
  KEEP="${1:-}" unshare --mount --propagation private "$0" "$work"
[ -n "${KEEP:-}" ] || trap 'cd /; umount -R "$work"/*/{proc,dev,certificates,wheels} 2>/dev/null || true; rm -rf "$work"' EXIT

for tool in shellcheck hadolint; do command -v "$tool" >/dev/null || echo "$tool is not installed: not linted with it"; done
! command -v shellcheck >/dev/null || shellcheck docker/install.sh docker/check.sh .ci/run .ci/versions
! command -v hadolint >/dev/null || hadolint docker/Dockerfile docker/Dockerfile.cpu

exec 3>&1
said() { printf '%-34s %s\n' "$1" "$2" >&3; }
timed() { # NAME COMMAND...
  local started=$SECONDS name=$1
  shift
  "$@"
  said "$name" "$((SECONDS - started)) s"
}

lend() { # ROOT: what a clean machine in this network needs, and no image holds
  mkdir -p "$1"/{proc,dev,certificates,wheels}
  mount --bind /proc "$1/proc"
  mount --rbind /dev "$1/dev"
  [ ! -d /etc/ssl/certs ] || mount --bind /etc/ssl/certs "$1/certificates"
  [ -z "$WHEELS" ] || mount --bind "$WHEELS" "$1/wheels"
  cp /etc/resolv.conf /etc/hosts "$1/etc/"
  [ ! -d /etc/apt/apt.conf.d ] || cp -n /etc/apt/apt.conf.d/*proxy* "$1/etc/apt/apt.conf.d/" 2>/dev/null || true
}

inside() { # ROOT COMMAND...: with nothing of this environment but the way to the network
  local root=$1 name lent=()
  shift
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL PIP_TRUSTED_HOST UV_INDEX_URL \
    UV_DEFAULT_INDEX PIP_DEFAULT_TIMEOUT UV_HTTP_TIMEOUT; do
    [ -z "${!name:-}" ] || lent+=("$name=${!name}")
  done
  local pem=/certificates/ca-certificates.crt
  [ ! -e "$root$pem" ] || lent+=("SSL_CERT_FILE=$pem" "PIP_CERT=$pem" "REQUESTS_CA_BUNDLE=$pem")
  [ -z "$WHEELS" ] || lent+=(WHEELS=/wheels)
  chroot ${AS:+--userspec="$AS"} "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="${HOME_INSIDE:-/root}" \
    TORCH_BACKEND="$TORCH_BACKEND" COMPILER="${COMPILER:-}" REVISION="$(git rev-parse HEAD 2>/dev/null || true)" "${lent[@]}" "$@"
}

build=$work/build final=$work/final
[ -d "$work/base" ] || timed "base ($SUITE, minbase)" debootstrap --variant=minbase "$SUITE" "$work/base" > "$work/debootstrap.log"
rm -rf "$work"/base/var/cache/apt/*.bin "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/* # nor has debian:slim
rm -rf "$build" "$final"
cp -a "$work/base" "$build"
lend "$build"
mkdir -p "$build/src/docker"
cp -r chemscale conf hydra_plugins launch pyproject.toml constraints.txt README.md LICENSE "$build/src/"
cp docker/install.sh "$build/src/docker/"
timed "builder" inside "$build" /src/docker/install.sh builder > "$work/builder.log" 2>&1
timed "dependencies" inside "$build" /src/docker/install.sh dependencies /src
timed "chemscale" inside "$build" /src/docker/install.sh chemscale /src

cp -a "$work/base" "$final"
lend "$final"
cp docker/install.sh "$final/install.sh"
inside "$final" /install.sh runtime > "$work/runtime.log" 2>&1
rm "$final/install.sh"
mkdir -p "$final/opt"
mv "$build/opt/chemscale" "$final/opt/chemscale"

said "compilers in the image" "$(inside "$final" sh -c 'command -v cc gcc g++ nvcc ld || echo none' | tr '\n' ' ')"
said "base" "$(du -smx "$work/base" | cut -f1) MB"
said "what runtime adds" "$(($(du -smx --exclude={opt,wheels,certificates} "$final" | cut -f1) - $(du -smx "$work/base" | cut -f1))) MB"
said "packages in /opt/chemscale" "$(du -smx "$final/opt/chemscale" | cut -f1) MB"

# As the image's user, in a folder of its own.
run() {
  AS=1000:1000 HOME_INSIDE=/home/chemscale inside "$final" env -C /work PATH=/opt/chemscale/bin:/usr/bin:/bin "$@"
}
run chemscale --version
small=(model.layers=2 model.heads=2 batch.tokens=1024 data.block=128 data.count=400 data.validation_fraction=0.1 budget.steps=6
  trainer.accelerator=cpu logger=jsonl)
timed "a sweep and its law" run chemscale train +sweep=chemgpt_sizes model.width=8,16,24 "${small[@]}" > "$work/train.log" 2>&1
timed "two ranks under ZeRO" run chemscale train model.width=8 "${small[@]}" strategy=zero1 launcher.gpus_per_node=2 \
  > "$work/zero.log" 2>&1
timed "generate" run chemscale generate runs/chemgpt_sizes/chemgpt-w24-l2 --n 5 > "$work/generate.log" 2>&1
timed "a potential" run chemscale train task=potential model=painn model.width=8 model.layers=1 data.count=60 budget.steps=6 \
  data.validation_fraction=0.2 trainer.accelerator=cpu logger=jsonl > "$work/potential.log" 2>&1
[ -z "${COMPILER:-}" ] || timed "a compiled function" run /opt/chemscale/bin/python -c \
  'import torch; print(torch.compile(lambda x: x.sin() + 1)(torch.ones(3)))' > "$work/compile.log" 2>&1
run test -s runs/chemgpt_sizes/law/report.html
tail -qn 1 "$work"/{train,zero,generate,potential}.log
echo "The steps of the images ran in a clean root."
