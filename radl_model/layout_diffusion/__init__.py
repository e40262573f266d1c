"""LayoutDiffusion (Zheng et al., CVPR 2023): a pixel-space diffusion model of boxes and classes, without text."""
