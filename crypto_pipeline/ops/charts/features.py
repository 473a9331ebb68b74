"""Charts of features as PNG bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from crypto_pipeline.ops.charts.bars import figure, png


def correlation_heatmap(names: Sequence[str], matrix: npt.NDArray[np.float64], title: str) -> bytes:
    """Draw the Pearson correlation of every pair of features, from -1 (blue) to 1 (red); PNG bytes.

    ``matrix`` is square, float64, in the order of ``names``.
    """
    size = max(4.0, 0.16 * len(names) + 2.0)
    drawn, axes = figure(size, size)
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=5)
    axes.set_yticks(range(len(names)), names, fontsize=5)
    axes.set_title(title, fontsize=9)
    bar = drawn.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.ax.tick_params(labelsize=6)
    return png(drawn)
