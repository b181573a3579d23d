#!/bin/bash
# The same command on every host of a TPU slice; JAX finds out how many there are.
#   ZONE=us-central2-b docs/launch/tpu_slice.sh NAME --config=F.py --workdir=/shared/runs/NAME
# The hosts need this repository in ~/gen_jax, installed with JAX for TPUs, and /shared mounted.
set -euo pipefail

name=$1
shift
printf -v arguments ' %q' "$@"

gcloud compute tpus tpu-vm ssh "$name" --zone="${ZONE:?the zone of the slice}" --worker=all \
    --command="cd gen_jax && python launch.py train$arguments"
