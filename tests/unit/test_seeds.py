"""Seeds are a function of the image's name alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radl_bench.errors import UsageError
from radl_bench.runs.seeds import image_seed


def test_the_seed_is_the_head_of_a_sha256():
    # printf '0:coco-mig:mig-000004:0' | sha256sum
    assert image_seed("coco-mig", "mig-000004", 0) == 0x98D20F80


def test_fixed_seeds_are_shared_by_samples_and_differ_by_k():
    assert [image_seed("b", name, k, base=42, policy="fixed") for name in "xy" for k in (0, 1)] == [42, 43, 42, 43]


@given(st.text("ab"), st.text("ab"), st.integers(0, 99), st.integers())
def test_a_seed_fits_32_bits_and_depends_on_every_part(benchmark, sample_id, k, base):
    seed = image_seed(benchmark, sample_id, k, base=base)
    assert 0 <= seed < 2**32
    others = {image_seed(benchmark, sample_id, k + 1, base=base), image_seed(benchmark, sample_id, k, base=base + 1)}
    assert seed not in others  # an accident of 2 in 2**32


def test_bad_policies_and_ranges_are_sentences():
    with pytest.raises(UsageError, match="Did you mean 'hashed'"):
        image_seed("b", "x", 0, policy="hash")
    with pytest.raises(UsageError, match="out of range"):
        image_seed("b", "x", 0, base=-1, policy="fixed")
