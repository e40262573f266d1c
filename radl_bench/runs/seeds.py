"""Seeds of images: a pure function of what the image is, never of batch, order, shard or device."""

from __future__ import annotations

import hashlib

from radl_bench.errors import UsageError, did_you_mean

SEED_POLICIES = ("hashed", "fixed")


def image_seed(benchmark: str, sample_id: str, k: int, *, base: int = 0, policy: str = "hashed") -> int:
    """Return the seed of the `k`-th image of a sample, an integer in [0, 2**32).

    `hashed` draws an independent seed for each image: the first 32 bits of sha256 over
    `base:benchmark:sample_id:k`. `fixed` gives every sample the seed `base + k`, as the published
    scripts of MIGC and GenEval do; noise is then shared by all samples.

    Raises:
        UsageError: unknown policy, or a fixed seed outside of the range.
    """
    if policy == "hashed":
        return int(hashlib.sha256(f"{base}:{benchmark}:{sample_id}:{k}".encode()).hexdigest()[:8], 16)
    if policy != "fixed":
        raise UsageError(did_you_mean(policy, SEED_POLICIES, "seed policy"))
    if not 0 <= base + k < 2**32:
        raise UsageError(f"Seed {base + k} is out of range. Give --seed a value from 0 to {2**32 - 1 - k}.")
    return base + k
