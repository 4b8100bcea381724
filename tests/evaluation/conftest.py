import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def scored():
    """Posteriors, targets and clip table of 60 clips in 20 recordings, four classes, three devices."""
    random = np.random.default_rng(4)
    posteriors = random.dirichlet(np.full(4, 0.7), size=60)
    targets = random.choice(4, size=60, p=[0.5, 0.3, 0.15, 0.05])
    labels = ("bus", "metro", "park", "tram")
    clips = pd.DataFrame(
        {
            "clip_id": [f"clip {n}" for n in range(60)],
            "label": [labels[t] for t in targets],
            "recording": [f"r{n // 3}" for n in range(60)],
            "device": [("a", "b", "s1", None)[n % 4] for n in range(60)],
        }
    )
    return posteriors, targets, clips, labels
