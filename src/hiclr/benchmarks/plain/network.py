"""ST-GCN and its projection head, layer by layer: names and weights are those of ours, so that states load."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hiclr.skeleton import Skeleton

_BLOCKS = ((1, 1), (1, 1), (1, 1), (1, 1), (2, 2), (2, 1), (2, 1), (4, 2), (4, 1), (16, 1))  # channels / width, stride


class PlainSTGCN(nn.Module):
    """Contiguous tensors, every body encoded, dropout by `nn.Dropout`: x (N, 3, T, V, M) -> features (N, 16 width)."""

    adjacency: Tensor

    def __init__(self, skeleton: Skeleton, width: int = 16, dropout: float = 0.5) -> None:
        super().__init__()
        self.register_buffer("adjacency", torch.from_numpy(skeleton.adjacency()))
        self.input_norm = nn.BatchNorm1d(3 * skeleton.num_joints)
        self.blocks = nn.ModuleList()
        channels = 3
        for i, (multiple, stride) in enumerate(_BLOCKS):
            rate = dropout if i > 0 else 0.0
            self.blocks.append(_Block(channels, multiple * width, stride, rate, self.adjacency, residual=i > 0))
            channels = multiple * width

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, v, m = x.shape
        x = self.input_norm(x.permute(0, 4, 3, 1, 2).reshape(n * m, v * c, t))
        x = x.view(n, m, v, c, t).permute(0, 1, 3, 4, 2).reshape(n * m, c, t, v)
        for block in self.blocks:
            x = block(x, self.adjacency)
        return F.avg_pool2d(x, x.shape[2:]).view(n, m, -1).mean(1)


class _Block(nn.Module):
    def __init__(
        self, channels: int, out_channels: int, stride: int, dropout: float, adjacency: Tensor, residual: bool
    ) -> None:
        super().__init__()
        self.importance = nn.Parameter(torch.ones_like(adjacency))
        self.graph = nn.Conv2d(channels, len(adjacency) * out_channels, 1)
        self.norm = nn.BatchNorm2d(out_channels)
        self.temporal = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, (9, 1), (stride, 1), (4, 0)),
            nn.BatchNorm2d(out_channels),
            nn.Dropout(dropout),
        )
        self.residual: nn.Module | None = None
        if residual and channels == out_channels and stride == 1:
            self.residual = nn.Identity()
        elif residual:
            self.residual = nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, (stride, 1)), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        n, _, t, v = x.shape
        convolved = self.graph(x).view(n, len(adjacency), -1, t, v)
        y = torch.einsum("nkctv,kvw->nctw", convolved, adjacency * self.importance).contiguous()
        y = self.temporal(F.relu(self.norm(y)))
        return F.relu(y if self.residual is None else y + self.residual(x))


class PlainProjected(nn.Module):
    """Encoder and head: x (N, 3, T, V, M) -> embeddings (N, 128)."""

    def __init__(self, encoder: PlainSTGCN, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 128))

    def forward(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.head(self.encoder(x))
        return embedding
