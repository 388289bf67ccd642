"""From video to poses: reading frames, the estimators that find people in them, the clips that come of it."""
