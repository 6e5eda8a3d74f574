"""Signals whose distribution is known: what realism's tests take for recordings and samples."""

import numpy as np
from scipy import signal

RATE = 100.0  # Hz
N, K, H, W = 40, 5, 6, 50  # images, trials, sensors, time points
MIX = np.eye(H) + 0.4 * np.random.default_rng(1).standard_normal((H, H))
ERP = 0.5 * np.random.default_rng(2).standard_normal((H, W))
PATTERNS = np.linalg.qr(np.random.default_rng(3).standard_normal((H * W, 4)))[0].T.reshape(4, H, W)
UNMIXED = np.diag(np.sqrt(np.diag(MIX @ MIX.T)))  # as loud, uncorrelated
EFFECTS = np.einsum("nm,mhw->nhw", np.random.default_rng(4).standard_normal((N, 4)), PATTERNS)


def record(k, seed, *, colour=0.8, mix=MIX, effect=4.0, scale=1.0):
    """Signals (N, k, H, W): mean response, effects of the image, and coloured noise in sensors."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((N, k, H, W + 40))
    noise = signal.lfilter([np.sqrt(1 - colour**2)], [1, -colour], noise)[..., 40:]
    return scale * (ERP + effect * EFFECTS[:, None] + mix @ noise)
