"""Hugging Face's Trainer, straight to S3: ``python huggingface.py s3://my-bucket/exp/bert``.

The Trainer takes its logging directory from TENSORBOARD_LOGGING_DIR.
"""

import os
import sys
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

import bucketboard

bucketboard.install()
os.environ["TENSORBOARD_LOGGING_DIR"] = sys.argv[1]

set_seed(0)
config = BertConfig(
    vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
)
tokens = torch.randint(50, (64, 6))
data = [{"input_ids": row, "labels": row[0] % 2} for row in tokens]
trainer = Trainer(
    model=BertForSequenceClassification(config),
    args=TrainingArguments(
        output_dir=os.path.join(tempfile.gettempdir(), "bucketboard-example"),
        num_train_epochs=2,
        per_device_train_batch_size=8,
        logging_steps=1,
        save_strategy="no",
        report_to="tensorboard",
        use_cpu=True,
        disable_tqdm=True,
    ),
    train_dataset=data,
)
trainer.train()
