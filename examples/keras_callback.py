"""Keras, on whichever backend, straight to S3: ``python keras_callback.py s3://my-bucket/exp/mnist``."""

import sys

import keras
import numpy as np

from bucketboard.keras import TensorBoard  # in place of keras.callbacks.TensorBoard

keras.utils.set_random_seed(0)
images = np.random.default_rng(0).random((512, 8, 8), dtype="float32")
labels = (images.mean(axis=(1, 2)) * 20).astype("int32") % 10
model = keras.Sequential(
    [keras.layers.Flatten(), keras.layers.Dense(32, "relu"), keras.layers.Dense(10, "softmax")]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
board = TensorBoard(sys.argv[1], histogram_freq=1, update_freq=4)
model.fit(images, labels, epochs=3, validation_split=0.2, callbacks=[board], verbose=0)
