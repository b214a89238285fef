#!/bin/bash
#SBATCH --job-name=keras-vaegan
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
# One training on several machines under Slurm, one process on each; from the folder that has examples/:
#
#     sbatch examples/cluster.sh train --preset vae_gan_mnist --output runs/shared
#
# PORT, 4000 where it is not set, must be free on all of them.
set -euo pipefail
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/\$/:${PORT:-4000}/" | paste -sd,)
srun --kill-on-bad-exit=1 bash -c \
    'exec python "$0" --hosts "$1" --index "$SLURM_PROCID" "${@:2}"' examples/workers.py "$hosts" "$@"
