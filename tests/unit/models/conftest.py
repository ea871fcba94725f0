from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small networks are slower on several threads than on one, above all when tests run side by side."""
    torch.set_num_threads(1)
