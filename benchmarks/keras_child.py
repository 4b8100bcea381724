"""The network of bench_keras.py in Keras: run with the interpreter of Keras' own environment; knows nothing of Coppice.

Builds, compiles and warms up, says so in a line of JSON, and then runs training steps whenever a line on standard input
asks for them: ``BATCH STEPS``, answered by the seconds of each step. The end of the input ends it.
"""

import argparse
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from keras import layers

BANDS, FRAMES, CLASSES = 40, 500, 10


def dcase2021() -> keras.Model:
    """Return the DCASE 2021 baseline with 16-16-32 filters, in the layout that TensorFlow wants on a CPU: NHWC."""
    inputs = values = keras.Input((BANDS, FRAMES, 1))
    for width, pool in ((16, None), (16, 5), (32, (4, FRAMES // 5))):
        values = layers.Conv2D(width, 7, padding="same")(values)
        values = layers.BatchNormalization()(values)
        values = layers.ReLU()(values)
        if pool is not None:
            values = layers.MaxPooling2D(pool)(values)
            values = layers.Dropout(0.3)(values)
    values = layers.Dropout(0.3)(layers.Dense(100, activation="relu")(layers.Flatten()(values)))
    # In float32 under any policy, as Keras' guide to mixed precision advises; the loss takes the logits.
    return keras.Model(inputs, layers.Dense(CLASSES, dtype="float32")(values))


def main() -> None:
    """Answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", required=True)
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batches", type=int, nargs="+", required=True)
    given = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(given.threads)
    tf.config.threading.set_inter_op_parallelism_threads(given.threads)
    keras.config.set_dtype_policy(given.policy)
    keras.utils.set_random_seed(0)
    model = dcase2021()
    model.compile(
        optimizer=keras.optimizers.Adam(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=given.xla,
    )
    random = np.random.default_rng(0)
    # Tensors from the beginning, so that no step pays for converting arrays.
    clips = {
        batch: (
            tf.constant(random.standard_normal((batch, BANDS, FRAMES, 1), dtype=np.float32)),
            tf.constant(random.integers(CLASSES, size=batch)),
        )
        for batch in given.batches
    }
    for batch in given.batches:
        for _ in range(2):
            model.train_on_batch(*clips[batch])
    answer({"keras": keras.version(), "tensorflow": tf.__version__, "parameters": model.count_params()})
    for line in sys.stdin:
        batch, steps = map(int, line.split())
        seconds = []
        for _ in range(steps):
            begin = time.perf_counter()
            model.train_on_batch(*clips[batch])
            seconds.append(time.perf_counter() - begin)
        answer(seconds)


def answer(what: object) -> None:
    """Print one line of JSON."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
