"""A corpus of one recording."""

from __future__ import annotations

import pandas as pd

from hiclr.data.corpora.base import Corpus
from hiclr.data.recordings.base import Recording
from hiclr.skeleton import Skeleton


def corpus_of(recording: Recording, skeleton: Skeleton) -> Corpus:
    samples = pd.DataFrame({"name": [recording.name], "label": 0, "subject": 0, "camera": 0, "setup": 0})
    return Corpus("mine", skeleton, ("a",), (), 1, samples, lambda row: recording, (), "")
