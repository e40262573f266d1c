"""Muon: momentum whose matrices are orthogonalised before they are subtracted (Jordan et al. 2024).

Matrices and convolutions learn with it; biases, norms, embeddings and the first and last layer with AdamW, as its
authors advise. Newton-Schulz runs on the smaller Gram matrix in float32: for a 192 x 1728 convolution this costs a
quarter of the iteration on the matrix itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Odd quintics that carry singular values of 1e-3 to 1 close to 1 in five steps (Cesista et al. 2025, "Squeezing 1-2%
# efficiency gains out of Muon", and You's coefficients in it).
QUINTICS = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
AS_ADAMW = 0.2
"""An orthogonal matrix times this and the root of its longer side moves its entries as far as AdamW would (Liu et al.
2025, arXiv 2502.16982), so that learning rates carry over."""


def orthogonalize(matrix: Tensor) -> Tensor:
    """The nearest matrix with orthonormal rows or columns, nearly: singular values in about 0.7 .. 1.2; [m, n]."""
    tall = matrix.shape[0] > matrix.shape[1]
    rows = (matrix.T if tall else matrix).float()
    rows = rows / (rows.norm() + 1e-7)
    gram = rows @ rows.T
    eye = torch.eye(len(gram), device=gram.device)
    product: Tensor | None = None
    for a, b, c in QUINTICS:
        step = a * eye + b * gram + c * (gram @ gram)
        product = step if product is None else step @ product
        gram = step @ gram @ step
        gram = (gram + gram.T) / 2
    assert product is not None
    out = product @ rows
    return (out.T if tall else out).to(matrix.dtype)


def split_parameters(named: Iterable[tuple[str, nn.Parameter]]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters for Muon and for AdamW."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in named:
        edge = any(word in name for word in ("embedding", "conv_in", "conv_out"))
        (others if parameter.ndim < 2 or edge else matrices).append(parameter)
    return matrices, others


class Muon(torch.optim.Optimizer):
    """Muon for the matrices and AdamW for the rest, in one optimiser with one state.

    Args:
        named: names and parameters, split by `split_parameters`.
        lr: of AdamW; matrix_lr: of Muon.
        betas: of AdamW; momentum: of Muon, Nesterov's form.
        weight_decay: of AdamW; matrix_decay: of Muon; both decoupled.
    """

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        lr: float,
        matrix_lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        matrix_decay: float = 0.1,
    ) -> None:
        matrices, others = split_parameters(named)
        groups = [
            {"params": matrices, "lr": matrix_lr, "weight_decay": matrix_decay, "muon": True},
            {"params": others, "lr": lr, "weight_decay": weight_decay, "muon": False},
        ]
        super().__init__([g for g in groups if g["params"]], {"betas": betas, "momentum": momentum, "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            (self._muon if group["muon"] else self._adamw)(parameters, group)

    def _muon(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        for p in parameters:
            assert p.grad is not None
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - group["momentum"])
            ahead = p.grad.lerp(state["momentum"], group["momentum"])
            update = orthogonalize(ahead.reshape(len(p), -1)).reshape(p.shape)
            longer = max(len(p), p[0].numel())
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.add_(update, alpha=-group["lr"] * AS_ADAMW * longer**0.5)

    def _adamw(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        for p in parameters:
            state = self.state[p]
            if not state:
                state.update(step=torch.zeros(()), exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
            state["step"] += 1
            self._move(p, state, group)

    @staticmethod
    def _move(p: nn.Parameter, state: dict[str, Any], group: dict[str, Any]) -> None:
        """AdamW (Loshchilov and Hutter 2019), one parameter."""
        assert p.grad is not None
        first, second = group["betas"]
        count = float(state["step"])
        state["exp_avg"].lerp_(p.grad, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(p.grad, p.grad, value=1 - second)
        spread = (state["exp_avg_sq"] / (1 - second**count)).sqrt_().add_(group["eps"])
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.addcdiv_(state["exp_avg"], spread, value=-group["lr"] / (1 - first**count))
