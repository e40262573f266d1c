"""Features: the vector of an image that FID and KID are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radl_bench.judges.checks import asking, check_vectors
from radl_bench.judges.contracts import FeatureExtractor, Role
from radl_bench.judges.kinds import Desk, Kind, Seen, Store, batches, sound
from radl_bench.runs.images import Picture

FEATURES_ROLE = Role("features", "features", ("features",), default="inception", beside="encoder")


class Features(Kind[FeatureExtractor]):
    """Field `features`."""

    key, role = "features", FEATURES_ROLE
    store = Store("features", ("image",), {"features": "floats"})

    def measure(self, pictures: Sequence[Picture], seen: Sequence[Seen], desk: Desk[FeatureExtractor]) -> None:
        """See `Kind.measure`; equal images are asked about once."""
        todo = {p.sha256: p for p in pictures if (p.sha256,) not in desk.table}
        judge = desk.asked
        for batch in batches((p for p in todo.values() if p.load() is not None), desk.batch_size):
            with asking(judge):
                images = [image for p in batch if (image := p.load()) is not None]
                vectors = check_vectors(judge, judge.features(images), len(batch))
            for picture, vector in zip(batch, vectors.astype(np.float32), strict=True):
                desk.table.add((picture.sha256,), (vector,))

    def read(self, picture: Picture, seen: Seen, desk: Desk[FeatureExtractor]) -> Seen:
        """See `Kind.read`."""
        return {"features": sound(desk.table[(picture.sha256,)][0])}


FEATURES = Features()
