"""Published numbers against ours: one file per paper, computed afresh from the released files and the code."""
