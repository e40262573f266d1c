#!/bin/bash
# Two machines of 8 GPUs under SLURM:  sbatch slurm.sh radl-sd14.toml radl
#
# One task a GPU. Five minutes before its time is over, or when its machines are taken back, each task gets SIGUSR1:
# the step is finished, the checkpoint written, and the job is put back into the queue. It goes on from there with the
# same command; exit code 75 says that the training is not finished.
#SBATCH --job-name=radl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail

config=${1:?Usage: sbatch slurm.sh CONFIG OUT}
out=${2:?Usage: sbatch slurm.sh CONFIG OUT}

MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export MASTER_ADDR MASTER_PORT
export WORLD_SIZE=$SLURM_NTASKS

# Each task tells the training which process it is; what follows is what accelerate launch would start.
srun --kill-on-bad-exit=0 bash -c \
  'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID exec python -m radl_model.train "$0" --out "$1"' "$config" "$out"
code=$?

if [ "$code" -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
fi
exit "$code"
