"""MIGC's module and the released RaDL's, slow and plain: one image, one loop after the other, weights by public names.

Written from the description of the public modules, apart from `radl_model`: no function is shared with it. Weights come
as a dict in the public layout without the leading "migc." or "radl." ("ea.to_q.weight", "sac.conv1.weight", ...).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

HEADS = 8
SLOTS = 30


def attention(query, context, w, name, heads=HEADS):
    """Multi-head attention [L, C] x [T, K] -> [L, C], scores written out; q, k, v without bias, output with."""
    q, k, v = (
        query @ w[f"{name}.to_q.weight"].T,
        context @ w[f"{name}.to_k.weight"].T,
        context @ w[f"{name}.to_v.weight"].T,
    )
    d = q.shape[1] // heads
    out = torch.zeros_like(q)
    for h in range(heads):
        part = slice(h * d, (h + 1) * d)
        scores = q[:, part] @ k[:, part].T / math.sqrt(d)
        out[:, part] = torch.softmax(scores, dim=1) @ v[:, part]
    return out @ w[f"{name}.to_out.0.weight"].T + w[f"{name}.to_out.0.bias"]


def box_embedding(box, w, freqs):
    """Fourier features of [x0, x1, y0, y1] (in this order), base 100, then Linear SiLU Linear SiLU Linear."""
    x0, y0, x1, y1 = box
    b = torch.tensor([x0, x1, y0, y1])
    features = []
    for j in range(freqs):
        f = 100 ** (j / freqs)
        features += [torch.sin(f * b), torch.cos(f * b)]
    h = torch.cat(features)
    for layer in (0, 2):
        h = F.silu(
            F.linear(h, w[f"pos_net.linears_position.{layer}.weight"], w[f"pos_net.linears_position.{layer}.bias"])
        )
    return F.linear(h, w["pos_net.linears_position.4.weight"], w["pos_net.linears_position.4.bias"])


def shrink(mask, *sizes):
    """Bilinear without antialias, one size after the other; [H, W]."""
    for size in sizes:
        mask = F.interpolate(mask[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    return mask


def draw_masks(boxes, latent, grid):
    """Instance masks [N, HW] and the background mask [HW]: drawn at full size, cut to pixels, reduced in two stages."""
    height, width = latent[0] * 8, latent[1] * 8
    full = torch.zeros(len(boxes), height, width)
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        full[i, int(height * y0) : int(height * y1), int(width * x0) : int(width * x1)] = 1
    ground = 1 - full.any(0).float()
    masks = torch.stack([shrink(m, latent, grid).flatten() for m in full])
    return masks, shrink(ground, latent, grid).flatten()


def cbam(x, w, name, grid):
    """Channel gate, then spatial gate; x [C, HW]."""

    def mlp(v):
        h = F.relu(F.linear(v, w[f"{name}.ChannelGate.mlp.1.weight"], w[f"{name}.ChannelGate.mlp.1.bias"]))
        return F.linear(h, w[f"{name}.ChannelGate.mlp.3.weight"], w[f"{name}.ChannelGate.mlp.3.bias"])

    x = x * torch.sigmoid(mlp(x.mean(1)) + mlp(x.max(1).values))[:, None]
    two = torch.stack([x.max(0).values, x.mean(0)]).reshape(1, 2, *grid)
    gate = F.conv2d(two, w[f"{name}.SpatialGate.spatial.conv.weight"], padding=3)
    return x * torch.sigmoid(gate).reshape(1, -1)


def layout_attention(x, masks, ground, w):
    """Self-attention; cell u reads v iff some phase mask is above zero in both."""
    phases = torch.cat([masks, ground[None]])
    q, k, v = (x @ w[f"la.to_{n}.weight"].T for n in "qkv")
    d, out = x.shape[1] // HEADS, torch.zeros_like(x)
    for u in range(len(x)):
        allowed = (phases[:, u : u + 1] * phases).sum(0) > 0
        for h in range(HEADS):
            part = slice(h * d, (h + 1) * d)
            p = torch.softmax(k[allowed][:, part] @ q[u, part] / math.sqrt(d), 0)
            out[u, part] = p @ v[allowed][:, part]
    return out @ w["la.to_out.0.weight"].T + w["la.to_out.0.bias"]


def phase_logit(feature, mask, w, grid):
    """1x1 conv on [feature, mask], CBAM, 1x1 conv: [HW]."""
    z = torch.cat([feature, mask[:, None]], 1) @ w["sac.conv1.weight"][:, :, 0, 0].T + w["sac.conv1.bias"]
    z = cbam(z.T, w, "sac.cbam1", grid)
    return (w["sac.conv2.weight"][:, :, 0, 0] @ z + w["sac.conv2.bias"][:, None])[0]


def sac(phases, masks, first, last, w, grid, perm):
    """Shading aggregation: `phases` [background, ..., last], the ones between permuted among the free slots.

    Args:
        first, last: logits of phase 0 go to slot 0, of the last one to slot 29; `perm` of the 28 slots between.
    """
    null = phase_logit(torch.zeros_like(phases[0]), torch.zeros_like(masks[0]), w, grid)
    logits = [phase_logit(p, m, w, grid) for p, m in zip(phases, masks, strict=True)]
    middle = logits[1:-1] + [null] * (SLOTS - 2 - (len(logits) - 2))
    shuffled = [middle[j] for j in perm.tolist()]
    gated = cbam(torch.stack([logits[first], *shuffled, logits[last]]), w, "sac.cbam2", grid)
    back = [None] * len(middle)
    for place, j in enumerate(perm.tolist()):
        back[j] = gated[1 + place]
    scores = torch.stack([gated[0], *back[: len(logits) - 2], gated[-1]])
    weights = torch.softmax(scores, 0)
    return sum(weight[:, None] * phase for weight, phase in zip(weights, phases, strict=True))


def migc_layer(x, prompt, phrases, pooled, boxes, latent, grid, base, w, perm):
    """One conditional row of MIGC's layer.

    Args:
        x: [HW, C]; prompt: [T, D]; phrases: N of [T, D]; pooled: N of [D]; boxes: N of (x0, y0, x1, y1).
        base: weights of the frozen cross-attention under "attn2."; perm: permutation of 28.
    """
    masks, ground = draw_masks(boxes, latent, grid)
    normed = F.layer_norm(x, x.shape[1:], w["norm.weight"], w["norm.bias"])
    phases = [ground[:, None] * attention(x, prompt, base, "attn2")]
    for phrase, pool, box, mask in zip(phrases, pooled, boxes, masks, strict=True):
        shade = attention(x, phrase, base, "attn2")
        context = torch.stack([pool, box_embedding(box, w, 8)])
        enhance = attention(normed, context, w, "ea")
        phases.append(mask[:, None] * shade + mask[:, None] * enhance)
    phases.append(layout_attention(x, masks, ground, w))
    return sac(phases, [ground, *masks, torch.ones(len(x))], 0, -1, w, grid, perm)


def release_layer(x, prompt, phrases, pooled, boxes, verbs, latent, grid, base, w, perm):
    """One conditional row of the released RaDL's layer; `verbs` [T, D] with its first token, which is dropped here."""
    masks, ground = draw_masks(boxes, latent, grid)
    normed = F.layer_norm(x, x.shape[1:], w["norm.weight"], w["norm.bias"])
    phases = [ground[:, None] * attention(x, prompt, base, "attn2")]
    for phrase, pool, box, mask in zip(phrases, pooled, boxes, masks, strict=True):
        shade = attention(x, phrase, base, "attn2")
        context = torch.cat([pool, box_embedding(box, w, 32)])[None]
        enhance = attention(normed, context, w, "ea")
        phases.append(mask[:, None] * (shade + enhance))
    phases.append(layout_attention(x, masks, ground, w))
    relation = attention(normed, verbs[1:], w, "vca.vca") * masks.sum(0).clamp(0, 1)[:, None]
    phases.append(relation)
    ones = torch.ones(len(x))
    return sac(phases, [ground, *masks, ones, ones], 0, -1, w, grid, perm)


def naive_fuser(plain, shaded, masks):
    """Ten to one average of the prompt's attention [HW, C] and those of the phrases."""
    top, bottom = plain, torch.ones(len(plain), 1)
    for shade, mask in zip(shaded, masks, strict=True):
        top, bottom = top + 10 * mask[:, None] * shade, bottom + 10 * mask[:, None]
    return top / (bottom + 1e-6)


def plus_layer(x, prompt, phrases, pooled, boxes, latent, grid, base, w, perm):
    """One conditional row of MIGC++'s layer: 29 permuted slots, then layout; no background among them."""
    masks, ground = draw_masks(boxes, latent, grid)
    normed = F.layer_norm(x, x.shape[1:], w["norm.weight"], w["norm.bias"])
    shaded = [attention(x, phrase, base, "attn2") for phrase in phrases]
    phases = []
    for pool, box, mask in zip(pooled, boxes, masks, strict=True):
        context = torch.stack([pool, box_embedding(box, w, 8)])
        phases.append(mask[:, None] * attention(normed, context, w, "ea"))
    phases.append(layout_attention(x, masks, ground, w))

    def logit(phase):
        return phase @ w["sac.conv2.weight"][0, :, 0, 0] + w["sac.conv2.bias"]

    middle = [logit(p) for p in phases[:-1]]
    middle += [logit(torch.zeros_like(x))] * (SLOTS - 1 - len(middle))
    table = torch.stack([*(middle[j] for j in perm.tolist()), logit(phases[-1])])
    gated = cbam(table, w, "sac.cbam2", grid)
    places = perm.argsort()
    scores = torch.stack([*(gated[places[i]] for i in range(len(phrases))), gated[-1]])
    fused = sum(s[:, None] * p for s, p in zip(torch.softmax(scores, 0), phases, strict=True))
    return naive_fuser(attention(x, prompt, base, "attn2"), shaded, masks) + torch.tanh(w["gamma"]) * fused
