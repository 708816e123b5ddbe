"""Lightning with its TensorBoardLogger, straight to S3: ``python lightning_logger.py s3://my-bucket/exp``.

Checkpoints go there too, as Lightning puts them beside the log.
"""

import sys

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger

import bucketboard

bucketboard.install()  # this line, and nothing else; or: from bucketboard.lightning import TensorBoardLogger


class Model(lightning.LightningModule):
    def __init__(self, lr: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.example_input_array = torch.zeros(1, 8)
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        x, y = batch
        loss = torch.nn.functional.mse_loss(self(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])


lightning.seed_everything(0)
x = torch.rand(256, 8)
data = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(x, x.sum(dim=1, keepdim=True)), batch_size=32
)
trainer = lightning.Trainer(
    logger=TensorBoardLogger(sys.argv[1], name="lightning", log_graph=True),
    max_epochs=3,
    log_every_n_steps=1,
    accelerator="cpu",
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(Model(), data)
