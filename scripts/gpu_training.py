"""A stage of the GPU check: the first losses beside the CPU's, then a real training."""

from __future__ import annotations

import math
import os
import time

import torch
from gpu_stage import SMALL_ARCH, Stage
from torch import Tensor, nn

from mmlska.classification import TinyImageNet
from mmlska.models import VANLSKAClassifier


def make_classifier(stage: Stage, classes: int, **options) -> nn.Module:
    """VAN-LSKA-T, or a very small one, with the same weights every time."""
    torch.manual_seed(0)
    arch, k_size = (SMALL_ARCH, 7) if stage.smoke else ('t', 23)
    return VANLSKAClassifier(arch, classes, k_size=k_size, **options)


def first_losses(stage: Stage, device: torch.device, steps: int) -> list[float]:
    """The losses of the first steps of a training in float32, on the same images with the same weights."""
    model = make_classifier(stage, 10, drop_path_rate=0.0).to(device).train()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(16, 3, 64, 64, generator=generator).to(device)
    labels = torch.randint(10, (16,), generator=generator).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def load_photos(stage: Stage) -> tuple[Tensor, Tensor, Tensor, Tensor, int, str]:
    """Training and validation photos and labels on the device, the number of classes, and what they are."""
    if stage.data:
        sets = [TinyImageNet(str(stage.data), data_prefix=dict(img=part)) for part in ('train', 'val')]
        classes = len(sets[0].metainfo['classes'])
        parts = [(s.images.permute(0, 3, 1, 2).contiguous().to(stage.device), s.labels.to(stage.device)) for s in sets]
        return *parts[0], *parts[1], classes, f'{classes} classes of Tiny-ImageNet'
    classes, each = (4, 8) if stage.smoke else (20, 500)
    generator = torch.Generator().manual_seed(0)
    grid = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing='ij'))
    parts = []
    for count in (each, each // 4):
        labels = torch.arange(classes).repeat_interleave(count)
        waves = torch.randn(classes, 3, 2, generator=torch.Generator().manual_seed(7)) * 0.4
        phase = torch.rand(len(labels), 3, 1, 1, generator=generator) * 6.28
        images = torch.sin(torch.einsum('nkd,dhw->nkhw', waves[labels], grid) + phase) * 60 + 128
        images += torch.randn(images.shape, generator=generator) * 40
        parts.append((images.clamp(0, 255).to(torch.uint8).to(stage.device), labels.to(stage.device)))
    return *parts[0], *parts[1], classes, f'{classes} generated textures'


def training(stage: Stage) -> None:
    """The first losses beside the CPU's, then a training of the classifier in bfloat16 with autocast."""
    torch.backends.cudnn.allow_tf32 = False
    steps = 2 if stage.smoke else 5
    on_device = first_losses(stage, stage.device, steps)
    strict = os.environ.pop('MMLSKA_STRICT', '0')  # the CPU may run the reference
    on_cpu = first_losses(stage, torch.device('cpu'), steps)
    os.environ['MMLSKA_STRICT'] = strict
    difference = max(abs(a - b) / abs(b) for a, b in zip(on_device, on_cpu))
    stage.write(first_losses=on_device, first_losses_cpu=on_cpu, largest_difference=difference)
    stage.say(f'first {steps} losses in float32 differ from the CPU by {difference:.1e} at most (allowed 1e-3)')

    torch.backends.cudnn.benchmark = True
    images, labels, val_images, val_labels, classes, what = load_photos(stage)
    batch, seconds = (8, 1.0) if stage.smoke else (512, stage.training_seconds)
    model = make_classifier(stage, classes).to(stage.device).train()
    mean, std = (
        torch.tensor(v, device=stage.device).view(1, 3, 1, 1) for v in ((124.0, 116.0, 104.0), (58.0, 57.0, 57.0))
    )
    cuda = stage.device.type == 'cuda'
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, fused=cuda)
    autocast = torch.autocast(stage.device.type, torch.bfloat16, enabled=cuda)

    def step(index: Tensor, rate: float) -> Tensor:
        optimizer.param_groups[0]['lr'] = rate
        x = (images[index].float() - mean) / std
        x = x.flip(3) if torch.rand(()) < 0.5 else x
        with autocast:
            loss = nn.functional.cross_entropy(model(x).float(), labels[index], label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    step(torch.randint(len(labels), (batch,), device=stage.device), 0.0)
    stage.turn()
    losses, begin, seen = [], time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < seconds:
        # Cosine after a short rise, over the time rather than over steps.
        share = spent / seconds
        rate = 2e-3 * min(share / 0.05, 0.5 + 0.5 * math.cos(math.pi * share))
        losses.append(step(torch.randint(len(labels), (batch,), device=stage.device), rate))
        seen += batch
        if len(losses) % 20 == 0:
            torch.stack(losses[-20:]).sum().item()  # the CPU must not run away from the GPU
    values = torch.stack(losses).float().tolist()
    spent = time.perf_counter() - begin
    model.eval()
    right = 0
    with torch.inference_mode(), autocast:
        for part, answer in zip(val_images.split(1000), val_labels.split(1000)):
            right += (model((part.float() - mean) / std).argmax(1) == answer).sum().item()
    edge = max(len(values) // 20, 1)
    before, after = sum(values[:edge]) / edge, sum(values[-edge:]) / edge
    stage.write(
        data=what, batch=batch, steps=len(values), seconds=spent, images_per_second=seen / spent,
        losses=[round(v, 4) for v in values[:: max(len(values) // 200, 1)]], loss_at_start=before, loss_at_end=after,
        finite=all(v == v and abs(v) < 1e4 for v in values), top1=100 * right / len(val_labels),
    )  # fmt: skip
    stage.say(
        f'{what}, bf16, {spent:.0f} s: {seen / spent:.0f} images/s, loss {before:.2f} to {after:.2f}, '
        f'top-1 {100 * right / len(val_labels):.1f} % of {len(val_labels)} others'
    )
    if not stage.result['finite'] or (not stage.smoke and (after > before or difference > 1e-3)):
        raise SystemExit(3)
