#!/bin/bash
#SBATCH --job-name=radl-bench
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
# A Ray cluster over the nodes of one job: the head on the first, and workers on all.
set -e
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --nodes=1 --ntasks=1 -w "$HEAD" ray start --head --port=6379 --block &
sleep 20
srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude "$HEAD" \
  ray start --address="$HEAD:6379" --block &
sleep 20
radl-bench generate coco-mig --model sd14 --engine ray --address "$HEAD:6379" --workers 32 --runs "$SLURM_SUBMIT_DIR/runs"
