"""Equations (1)-(7) written slow and plain: loops over images and instances, explicit softmax, no packing."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def attention(q, k, v, heads):
    """softmax(q k^T / sqrt d) v, head by head; q [L, C], k and v [T, C]."""
    out = []
    for a, b, c in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True):
        out.append(torch.softmax(a @ b.T / math.sqrt(a.shape[-1]), -1) @ c)
    return torch.cat(out, -1)


def branch(module, q, k, heads):
    """One new branch on queries [L, C] and keys [T, *]."""
    return module.to_out[0](attention(module.to_q(q), module.to_k(k), module.to_v(k), heads))


def position(net, box):
    """Box embedding: for each frequency, the sines of the four coordinates, then the cosines."""
    features = [f(100 ** (j / net.n_freqs) * box) for j in range(net.n_freqs) for f in (torch.sin, torch.cos)]
    return net.mlp(torch.cat(features))


def cbam(module, x, grid):
    """Channel gate, then spatial gate; x [C, H*W]."""
    x = x * torch.sigmoid(module.channel(x.mean(1)) + module.channel(x.max(1).values))[:, None]
    pooled = torch.stack([x.max(0).values, x.mean(0)]).view(1, 2, *grid)
    return x * torch.sigmoid(F.conv2d(pooled, module.spatial.weight, padding=3)).view(-1)


def instance(layer, attn, x, phrase, box, mask, grid):
    """(1)-(4) for one instance: its phase [HW, C]."""
    heads, seen = attn.heads, mask > 0
    ca = attn.to_out[0](attention(attn.to_q(x), attn.to_k(phrase), attn.to_v(phrase), heads)) * mask[:, None]
    ae = layer.enhancement
    query = F.interpolate(ae.query[None], size=grid, mode="bilinear").flatten(2)[0].T
    enhanced = ca + ae.gamma * branch(ae.attention, query, ca[seen], heads)
    place = position(layer.instance.position, box)
    tokens = torch.cat([phrase, place.expand(len(phrase), -1)], -1)
    return ca + branch(layer.instance.attention, layer.norm(enhanced), tokens, heads) * mask[:, None]


def layout(layer, x, masks, heads):
    """Self-attention, each cell over the cells it shares a phase with."""
    q, k, v = layer.layout.to_q(x), layer.layout.to_k(x), layer.layout.to_v(x)
    rows = []
    for u in range(len(x)):
        meet = torch.stack([m * m[u] for m in masks]).sum(0) > 0
        rows.append(attention(q[u : u + 1], k[meet], v[meet], heads))
    return layer.layout.to_out[0](torch.cat(rows))


def logit(fusion, phase, cover, grid):
    """One phase's logit map [HW]."""
    z = fusion.conv1(torch.cat([phase, cover[:, None]], -1))
    return fusion.conv2(cbam(fusion.cbam1, z.T, grid).T)[:, 0]


def fused(layer, attn, x, plain, phrases, boxes, masks, grid, verb=None):
    """One image's output [HW, C]; `masks` as `build_masks` gives them for this image alone."""
    fusion, heads, n = layer.fusion, attn.heads, len(phrases)
    phases = [plain * masks.background[0][:, None]]
    phases += [instance(layer, attn, x, phrases[i], boxes[i], masks.instance[i], grid) for i in range(n)]
    covers = [masks.background_cover[0], *masks.instance_cover, torch.ones(len(x))]
    phases.append(layout(layer, x, [masks.background[0], *masks.instance], heads))
    slots, kinds = [0, *range(1, n + 1), 28], [0] + [1] * n + [2]
    if verb is not None:
        phases.append(branch(layer.relation, layer.norm(x), verb, heads) * masks.union[0][:, None])
        covers.append(masks.union[0])
        slots.append(29)
        kinds.append(3)
    null = logit(fusion, torch.zeros_like(x), torch.zeros(len(x)), grid)
    table = [null] * 30
    for slot, phase, cover in zip(slots, phases, covers, strict=True):
        table[slot] = logit(fusion, phase, cover, grid)
    gated = cbam(fusion.cbam2, torch.stack(table), grid)
    log_area = [float(((b[2] - b[0]) * (b[3] - b[1])).log()) for b in boxes]
    scores = []
    for slot, kind, cover in zip(slots, kinds, covers, strict=True):
        score = gated[slot] + fusion.cover_gain * cover.clamp_min(1e-3).log() + fusion.kind_bias[kind]
        if kind == 1:
            score = score - fusion.size_gain * _excess(slot - 1, log_area, masks.instance_cover)
        scores.append(score)
    weights = torch.softmax(torch.stack(scores), 0)
    return sum(w[:, None] * p for w, p in zip(weights, phases, strict=True))


def _excess(i, log_area, covers):
    """Where instance i lies: its log area over the smallest that lies there too."""
    out = torch.zeros_like(covers[i])
    for u in range(len(out)):
        there = [a for a, c in zip(log_area, covers, strict=True) if c[u] > 0]
        if covers[i][u] > 0:
            out[u] = log_area[i] - min(there)
    return out
