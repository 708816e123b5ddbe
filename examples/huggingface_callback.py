"""Hugging Face's Trainer with a writer of ours: ``python huggingface_callback.py s3://my-bucket/exp/bert``."""

import os
import sys
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed
from transformers.integrations import TensorBoardCallback

from bucketboard.torch import SummaryWriter

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
        report_to="none",  # but to the callback below
        use_cpu=True,
        disable_tqdm=True,
    ),
    train_dataset=data,
    callbacks=[TensorBoardCallback(tb_writer=SummaryWriter(sys.argv[1]))],
)
trainer.train()
