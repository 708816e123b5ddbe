"""What torch's and tensorboardX's own writers leave on disk: ``python logs_of_torch.py torch DIRECTORY``.

Both have the same methods, so one script drives either.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

LONG = 2500
"""Points of a series that is longer than the thousand TensorBoard keeps of scalars."""


def write(directory: Path, framework: str) -> None:
    """Runs with everything the writer can log, restarts, and long series."""
    writer = _writers(framework)
    _everything(writer(str(directory / "all")), framework)
    _long(writer(str(directory / "long" / "series")))
    _restarts(directory / "restarted", writer)
    for number, rate in enumerate((0.1, 0.01, 0.001)):
        _trial(writer(str(directory / "trials" / f"trial {number}")), number, rate, framework)
    with contextlib.closing(writer(str(directory))) as root:  # the run "."
        root.add_scalar("loss", 1.0, 0, walltime=1e9 - 5)
    with contextlib.closing(writer(str(directory / "odd" / "ü +%25 [x]"))) as odd:
        odd.add_scalar("t ä/%2F?&=+#", 1.5, 7, walltime=1e9)
        odd.add_scalar("", 2.5, 7, walltime=1e9)


def _writers(framework: str) -> Any:
    if framework == "torch":
        from torch.utils.tensorboard import SummaryWriter as Writer
    else:
        from tensorboardX import SummaryWriter as Writer
    return Writer


def _everything(writer: Any, framework: str) -> None:
    draw = np.random.default_rng(5)
    odd = (float("nan"), float("inf"), float("-inf"), 1e-45, 3.5e38, -0.0)
    for step in range(14):  # more than the ten that TensorBoard keeps of images, sounds and texts
        at = {"global_step": step, "walltime": 1e9 + step / 3}
        writer.add_scalar("loss/train", 1 / (step + 1), **at)
        writer.add_scalar("loss/odd", odd[step % len(odd)], **at)
        if framework == "torch":
            writer.add_scalar("loss/new", step * 0.25, new_style=True, **at)
            writer.add_scalar("loss/double", odd[step % 3] if step < 6 else step / 3, new_style=True, **at)
            writer.add_tensor("tensor", _tensor(step), **at)
        writer.add_histogram("weights", draw.normal(size=200), **at)
        writer.add_image("picture", draw.random((3, 8, 8)), **at)
        writer.add_images("pictures", draw.integers(0, 255, (4, 3, 8, 8), dtype=np.uint8), **at)
        writer.add_text("note", f"step **{step}** ü <b>&</b>\n\n|a|b|\n|-|-|\n|1|2|", **at)
        writer.add_pr_curve("curve", draw.integers(0, 2, 50), draw.random(50), **at)
        sound = draw.uniform(-1, 1, (1, 400))
        writer.add_audio("sound", sound if framework == "torch" else sound.T, sample_rate=8000, **at)
        writer.add_scalars("many", {"a": float(step), "b": 2.0 * step}, **at)
    at = {"global_step": 1, "walltime": 1e9}
    points = draw.random((1, 5, 3))
    colours = draw.integers(0, 255, (1, 5, 3))
    faces = np.array([[[0, 1, 2], [2, 3, 4]]])
    if framework == "torch":
        import torch

        points, colours, faces = map(torch.as_tensor, (points, colours, faces))
    for step in (0, 3):
        writer.add_mesh(
            "mesh", points, colors=colours, faces=faces, config_dict={"light": step}, global_step=step
        )
    writer.add_image_with_boxes("boxes", draw.random((3, 12, 16)), np.array([[1, 1, 8, 8]]), **at)
    writer.add_histogram_raw("raw", 0.0, 1.0, 3, 1.5, 0.9, [0.5, 1.0], [1, 2], **at)
    writer.add_custom_scalars(
        {
            "fit": {
                "loss": ["Multiline", ["loss/train", "loss/odd"]],
                "margin": ["Margin", ["loss/train", "loss/odd", "loss/train"]],
            },
            "other": {"any": ["Multiline", [r"many/.*"]]},
        }
    )
    writer.add_embedding(np.eye(3), metadata=["x", "y", "z"], tag="points", global_step=1)
    writer.add_embedding(
        np.eye(4), metadata=[["a", "1"]] * 4, metadata_header=["n", "v"], tag="pairs", global_step=2
    )
    if framework == "torch":
        import torch

        model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
        writer.add_graph(model, torch.zeros(1, 3))
    writer.close()


def write_doubles(directory: Path) -> None:
    """Scalars of 64 bits, which TensorBoard's Rust server leaves out."""
    from torch.utils.tensorboard import SummaryWriter

    odd = (float("nan"), float("inf"), float("-inf"), 5e-324, 1.7e308, -0.0)
    with contextlib.closing(SummaryWriter(str(directory / "doubles"))) as writer:
        for step in range(20):
            at = {"global_step": step, "walltime": 1e9 + step / 3, "new_style": True}
            writer.add_scalar("third", step / 3, double_precision=True, **at)
            writer.add_scalar("odd", odd[step % len(odd)], double_precision=True, **at)
            writer.add_scalar("single", step / 3, **at)


def _tensor(step: int) -> Any:
    import torch

    return torch.arange(6.0).reshape(2, 3) + step


def _long(writer: Any) -> None:
    draw = np.random.default_rng(6)
    for step in range(LONG):
        writer.add_scalar("long/loss", 1 / (step + 1), step, walltime=1e9 + step)
        if step % 2:
            writer.add_scalar("long/odd", float(step), step, walltime=1e9 + step)
        if step < 620:
            writer.add_histogram("long/weights", draw.normal(size=9), step, walltime=1e9 + step)
        if step < 1001:
            writer.add_scalar("long/over", float(step), step, walltime=1e9 + step)
        if step < 1000:
            writer.add_scalar("long/exactly", float(step), step, walltime=1e9 + step)
        if step < 130:
            writer.add_pr_curve(
                "long/curve", draw.integers(0, 2, 9), draw.random(9), step, num_thresholds=5, walltime=1e9
            )
    writer.close()


def _restarts(directory: Path, writer: Any) -> None:
    """Several event files in a run: steps that overlap, with and without being told so."""
    # Names sort by second and then by what follows it, so the suffix puts files of one second in order.
    for name, purge in (("told", True), ("untold", False)):
        for part, (first, last) in enumerate(((0, 30), (20, 50), (45, 46), (10, 60))):
            options = {"purge_step": first} if purge and part else {}
            log = writer(str(directory / name), filename_suffix=f".{part}", **options)
            for step in range(first, last):
                at = {"global_step": step, "walltime": 1e9 + 100 * part + step}
                log.add_scalar("loss", part * 100.0 + step, **at)
                if part != 1:
                    log.add_scalar("sometimes", part * 100.0 + step, **at)
                if step % 5 == 0:
                    log.add_histogram("weights", np.full(4, float(part)), **at)
                    log.add_image("picture", np.full((3, 2, 2), part / 4), **at)
                    log.add_text("note", f"part {part} step {step}", **at)
            log.close()
            _rename(directory / name, part)
    with contextlib.closing(writer(str(directory / "backwards"))) as log:
        for step in (5, 6, 7, 3, 4, 9, 9, 9, 2, -1, 0):
            log.add_scalar("loss", float(step), step, walltime=1e9 + step)
            log.add_histogram("weights", np.full(4, float(step)), step, walltime=1e9 + step)


def _rename(directory: Path, part: int) -> None:
    """Put a file's part into the second of its name, as if the restarts had been seconds apart."""
    [path] = directory.glob(f"*.{part}")
    head, _, rest = path.name.partition("tfevents.")
    seconds, _, rest = rest.partition(".")
    path.rename(path.with_name(f"{head}tfevents.{int(seconds) + 100 * part}.{rest}.done"))


def _trial(writer: Any, number: int, rate: float, framework: str) -> None:
    for step in range(5):
        writer.add_scalar("accuracy", number + step / 10, step, walltime=1e9 + step)
    options = {"run_name": "hp"} if framework == "torch" else {"name": "hp"}
    writer.add_hparams(
        {"lr": rate, "layers": number, "name": "sgd" if number else "adam", "bias": bool(number % 2)},
        {"final/accuracy": 0.5 + number / 10, "final/loss": 1.0 - number / 10},
        **options,
    )
    writer.close()


if __name__ == "__main__":
    write(Path(sys.argv[2]), sys.argv[1])
