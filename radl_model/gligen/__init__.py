"""GLIGEN (Li et al., CVPR 2023): gated layers in a frozen Stable Diffusion v1 that read boxes and their texts."""
