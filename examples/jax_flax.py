"""JAX with Flax, straight to S3: ``python jax_flax.py s3://my-bucket/exp/jax``.

TensorFlow is not needed, as it is for ``flax.metrics.tensorboard``.
"""

import sys

import jax
import jax.numpy as jnp
import optax
from flax import linen

import bucketboard

model = linen.Dense(1)
x = jax.random.normal(jax.random.key(0), (256, 3))
y = x @ jnp.array([[1.0], [2.0], [3.0]])
parameters = model.init(jax.random.key(1), x)
optimizer = optax.adam(0.05)
state = optimizer.init(parameters)


@jax.jit
def train(parameters, state):
    loss, gradient = jax.value_and_grad(lambda p: jnp.mean((model.apply(p, x) - y) ** 2))(parameters)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(parameters, updates), state, loss


with bucketboard.SummaryWriter(sys.argv[1]) as writer:
    for step in range(100):
        parameters, state, loss = train(parameters, state)
        writer.add_scalar("loss", loss, step)
        if step % 20 == 0:
            writer.add_histogram("kernel", jax.device_get(parameters["params"]["kernel"]), step)
