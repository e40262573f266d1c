"""FID and KID against clean-fid and torchmetrics on the same features; first-order effects of single vectors."""

from __future__ import annotations

import numpy as np
import pytest

from radl_bench.scoring.metrics.frechet import Frechet, Moments, frechet_distance, moments_of
from radl_bench.scoring.metrics.set_distances import kernel_parts, kid_value


def features(seed: int, n: int = 300, d: int = 64, shift: float = 0.3) -> np.ndarray:
    """Return correlated float32 features [n, d] of a population that depends on `shift` alone."""
    mixing = np.random.default_rng(99).normal(size=(d, d)) / np.sqrt(d)
    x = np.random.default_rng(seed).normal(size=(n, d))
    return ((x @ mixing) * (1 + shift) + shift).astype(np.float32)


def moments(x: np.ndarray) -> Moments:
    return moments_of([x[:100], x[100:]], [x[:100], x[100:]])


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    return features(0), features(1, 400, shift=0.0)


def test_moments_are_numpys(pair) -> None:
    found = moments(pair[0])
    wide = pair[0].astype(float)
    assert found.mean == pytest.approx(wide.mean(axis=0), rel=1e-12)
    assert found.cov == pytest.approx(np.cov(wide, rowvar=False), rel=1e-10, abs=1e-13)
    with pytest.raises(ValueError, match="two vectors"):
        moments_of([pair[0][:1]], [pair[0][:1]])


@pytest.mark.filterwarnings("ignore:.*disp.*:DeprecationWarning")
def test_equals_clean_fid(pair) -> None:
    from cleanfid.fid import fid_from_feats
    from cleanfid.fid import frechet_distance as theirs

    a, b = (moments(x) for x in pair)
    ours = frechet_distance(a, b)
    assert ours == pytest.approx(theirs(a.mean, a.cov, b.mean, b.cov), rel=1e-9)
    assert ours == pytest.approx(fid_from_feats(*(x.astype(np.float64) for x in pair)), rel=1e-9)
    assert ours == pytest.approx(fid_from_feats(*pair), rel=1e-6)  # its means are float32


def test_equals_torchmetrics(pair) -> None:
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Same(torch.nn.Module):
        num_features = 64

        def forward(self, x):
            return x

    theirs = FrechetInceptionDistance(feature=Same(), input_img_size=(3, 8, 8)).set_dtype(torch.float64)
    theirs.update(torch.from_numpy(pair[1]), real=True)
    theirs.update(torch.from_numpy(pair[0]), real=False)
    assert frechet_distance(*(moments(x) for x in pair)) == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_two_gaussians_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    s1, s2 = rng.uniform(0.5, 3, 5), rng.uniform(0.5, 3, 5)  # covariances that commute
    one, two = (Moments(9, m, axes @ np.diag(s**2) @ axes.T) for m, s in ((np.zeros(5), s1), (np.ones(5), s2)))
    assert frechet_distance(one, two) == pytest.approx(5 + ((s1 - s2) ** 2).sum(), rel=1e-12)
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-12)


def test_fewer_images_than_dimensions_is_symmetric_and_real() -> None:
    a, b = moments(features(0, 40)), moments(features(1, 50, shift=0.1))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)


def test_effects_of_single_vectors_are_the_derivative(pair) -> None:
    x, wanted = pair[0].astype(float), moments(pair[1])
    effects = Frechet(moments(x), wanted).influence([x[:7], x[7:]])
    assert effects.mean() == pytest.approx(0.0, abs=1e-12)

    def weighted(weights: np.ndarray) -> float:
        weights = weights / weights.sum()
        mean = weights @ x
        cov = ((x - mean).T * weights) @ (x - mean) * len(x) / (len(x) - 1)
        return frechet_distance(Moments(len(x), mean, cov), wanted)

    for index in (0, 17, 250):
        step = 1e-4
        up, down = (weighted(np.ones(len(x)) + s * np.eye(len(x))[index]) for s in (step, -step))
        slope = (up - down) / (2 * step)
        # the effect is per unit of weight of n vectors; its covariance term carries n / (n - 1)
        assert slope * len(x) == pytest.approx(effects[index], rel=2e-2, abs=2e-2)


@pytest.mark.parametrize(("n", "low", "high"), [(32, 1.0, 1.5), (256, 0.9, 1.25)])
def test_effects_tell_the_spread_of_fid_and_are_not_too_sure(n: int, low: float, high: float) -> None:
    """Two vectors a dimension give an interval a third too wide, sixteen an eighth."""
    wanted = moments(features(1, 4000, 16, 0.0))
    values, errors = [], []
    for seed in range(200):
        x = features(100 + seed, n, 16, 0.15)
        frechet = Frechet(moments_of([x], [x]), wanted)
        values.append(frechet.value)
        errors.append(frechet.influence([x]).std() / np.sqrt(n))
    assert low < np.mean(errors) / np.std(values) < high


def plain_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Return the unbiased squared MMD by its definition, pair by pair."""
    kernel = lambda a, b: (float(a @ b) / len(a) + 1) ** 3  # noqa: E731
    inside = [np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
    return float(sum(inside) - 2 * np.mean([kernel(a, b) for a in x for b in y]))


@pytest.mark.slow
def test_a_frechet_distance_of_2048_dimensions_takes_no_longer_than_one_eigendecomposition() -> None:
    """numpy's, of a matrix of that size in the same run: seconds are the processor's (about 3 s of one core)."""
    from time import process_time

    a, b = (moments(features(seed, 4200, 2048, shift)) for seed, shift in ((0, 0.1), (1, 0.0)))
    times = [process_time()]
    assert frechet_distance(a, b) > 0
    times.append(process_time())
    np.linalg.eigh(a.cov)
    times.append(process_time())
    assert times[1] - times[0] < times[2] - times[1]


def test_kernel_distance_equals_its_definition_and_clean_fid() -> None:
    from cleanfid.fid import kernel_distance as theirs

    x, y = features(0, 30, 8).astype(float), features(1, 30, 8, 0.0).astype(float)
    ours = kid_value(kernel_parts(x, np.arange(30), y))
    assert ours == pytest.approx(plain_mmd(x, y), rel=1e-12)
    assert ours == pytest.approx(theirs(x, y, num_subsets=1, max_subset_size=30), rel=1e-9)
