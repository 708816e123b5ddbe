"""Stable-Baselines3, into a spooled directory: ``python sb3.py s3://my-bucket/exp/ppo``.

It makes its own directories (``PPO_1``, …) with the operating system, so it gets a directory.
"""

import os
import sys

from stable_baselines3 import PPO

import bucketboard

with bucketboard.SpooledDirectory(sys.argv[1]) as logs:
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=64, seed=0, tensorboard_log=os.fspath(logs), device="cpu")
    model.learn(total_timesteps=256)
