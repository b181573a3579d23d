#!/bin/bash
# One task for each GPU. The arguments are those of `launch.py train`:
#   sbatch docs/launch/slurm.sh --config=experiments/gan_mnist.py --workdir=/shared/runs/gan_mnist
#SBATCH --job-name=gen_jax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
# Two minutes before the time is up, SIGTERM: the run saves and ends with 143.
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

cd "${SLURM_SUBMIT_DIR:-.}" || exit 1

# JAX gives each task the GPU of its number on the node, so all of them must be visible to it.
srun --kill-on-bad-exit=1 --gpu-bind=none python launch.py train "$@"
code=$?

# Stopped and saved, not finished: the same job goes on from there.
if [ "$code" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
