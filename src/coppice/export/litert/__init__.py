"""LiteRT (TensorFlow Lite) files without TensorFlow: a traced module, operator by operator; int8; verified."""
