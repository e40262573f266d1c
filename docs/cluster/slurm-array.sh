#!/bin/bash
#SBATCH --job-name=radl-bench
#SBATCH --array=1-8
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
# Eight parts of one run on a shared file system, one a GPU; the same script again resumes.
srun radl-bench generate coco-mig --model sd14 --shard "$SLURM_ARRAY_TASK_ID/8" --runs "$SLURM_SUBMIT_DIR/runs"
