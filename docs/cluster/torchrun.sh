#!/bin/bash
# Four parts of one run, started by torchrun: RANK and WORLD_SIZE say which part, LOCAL_RANK which GPU.
torchrun --nproc-per-node=4 --no-python bash -c \
  'radl-bench generate coco-mig --model sd14 --shard $((RANK + 1))/$WORLD_SIZE --device cuda:$LOCAL_RANK'
