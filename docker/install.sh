#!/bin/sh
# What stands in every image, step by step: the Dockerfiles, the Apptainer definition and docker/check.sh run it.
#
#   install.sh builder               what the build needs and the image does not (Debian, as root)
#   install.sh dependencies SOURCE   all packages, at the versions of constraints.txt, into $CHEMSCALE_ENV
#   install.sh chemscale SOURCE      chemscale itself, from SOURCE
#   install.sh runtime               what the image needs besides (Debian, as root)
#
# CHEMSCALE_ENV    where the environment lies (/opt/chemscale)
# EXTRAS           of pyproject.toml, with commas (hf)
# TORCH_BACKEND    cpu, cu126, cu128, …: the build of torch that uv takes from PyTorch's own index; empty: PyPI's,
#                  with the newest CUDA
# WHEELS           a folder of local wheels that are preferred
# REVISION         the commit that SOURCE is of: records and --version will say it
# COMPILER         yes: torch.compile works in the image (trainer.compile): g++, headers of libc, Python and torch,
#                  250 MB; empty: none of them, and training is eager
set -eu

env=${CHEMSCALE_ENV:-/opt/chemscale}
extras=${EXTRAS:-hf}
tools=/opt/build-tools
uv_version=0.13.9

packages() { # of Debian, and no list of them left behind
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
  apt-get clean
  rm -rf /var/lib/apt/lists/*
}

install_into_env() {
  set -- --python "$env" --constraints "$source/constraints.txt" --compile-bytecode ${WHEELS:+--find-links "$WHEELS"} \
    ${TORCH_BACKEND:+--torch-backend "$TORCH_BACKEND"} "$@"
  # Without --no-config the pins of the development environment would hold here too.
  "$tools/bin/uv" pip install --quiet --no-config "$@"
}

step=${1:?builder, dependencies, chemscale or runtime}
source=${2:-/src}
case $step in
  builder)
    packages ca-certificates python3 python3-venv
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "uv==$uv_version"
    ;;
  dependencies)
    "$tools/bin/uv" venv --quiet --python /usr/bin/python3 "$env"
    old_ifs=$IFS
    IFS=,
    set --
    for extra in $extras; do set -- "$@" --extra "$extra"; done
    IFS=$old_ifs
    install_into_env -r "$source/pyproject.toml" "$@"
    # Headers and test programs: 200 MB that only a compiler or a developer of these packages would use.
    for folder in "$env"/lib/python3.*/site-packages; do
      [ -n "${COMPILER:-}" ] || rm -rf "$folder/torch/include"
      rm -rf "$folder/torch/test" "$folder/pyarrow/include" "$folder/pyarrow/tests"
      find "$folder/torch/bin" -type f ! -name torch_shm_manager -delete
    done
    ;;
  chemscale)
    install_into_env --no-deps "$source"
    if [ -n "${REVISION:-}" ]; then
      folder=$("$env/bin/python" -c 'import importlib.util as u; print(u.find_spec("chemscale").origin)')
      echo "$REVISION" > "${folder%/chemscale/__init__.py}/REVISION"
    fi
    "$env/bin/python" -m chemscale --version
    ;;
  runtime)
    set -- ca-certificates libgomp1 python3 # tblite is linked to libgomp and does not bring it
    # Triton compiles a launcher in C for each kernel, against Python.h; Inductor what runs on the host, in C++.
    [ -z "${COMPILER:-}" ] || set -- "$@" g++ libc6-dev python3-dev
    packages "$@"
    # Nobody special: a number that a cluster or `docker run --user` may replace.
    groupadd --gid 1000 chemscale
    useradd --uid 1000 --gid 1000 --create-home chemscale
    mkdir -p /work
    chown chemscale:chemscale /work
    ;;
  *)
    echo "install.sh: unknown step $step" >&2
    exit 2
    ;;
esac
