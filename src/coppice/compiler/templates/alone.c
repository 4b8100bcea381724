static const struct pooling alone = {1, 1, 1, 1, 1, 0, 0, 0, 0, 0};
