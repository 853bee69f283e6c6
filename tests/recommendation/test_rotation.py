import pytest
import torch

from gnnq_lib.errors import InputError
from gnnq_lib.recommendation.levels import fitted_levels, look_up, nearest_codes
from gnnq_lib.recommendation.rotation import SAMPLE, fitted_rotation


def relative_error(table: torch.Tensor, bits: int) -> float:
    levels = fitted_levels(table, bits)
    rounded = look_up(nearest_codes(table, levels), levels)
    return float((table - rounded).square().sum() / table.square().sum())


def clustered(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    """Rows along few directions, as embeddings of small data sets are."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(width // 4, width, generator=generator)
    return torch.randn(rows, width // 4, generator=generator) @ directions


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("per_node", [True, False])
def test_is_orthogonal(bits: int, per_node: bool):
    rotation = fitted_rotation(clustered(50, 16), bits, per_node)
    assert torch.allclose(rotation @ rotation.T, torch.eye(16), atol=1e-5)


@pytest.mark.parametrize("bits", [1, 2])
def test_lowers_the_error(bits: int):
    table = clustered(200, 32)
    assert relative_error(table @ fitted_rotation(table, bits), bits) < 0.9 * relative_error(table, bits)


def test_finds_signs_that_a_rotation_hides():
    generator = torch.Generator().manual_seed(1)
    signs = torch.randint(0, 2, (400, 8), generator=generator).float() * 2 - 1
    hidden = signs @ torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q
    assert relative_error(hidden, 1) > 0.2
    assert relative_error(hidden @ fitted_rotation(hidden, 1), 1) < 0.05


def test_the_same_seed_gives_the_same_rotation():
    table = clustered(60, 8)
    assert torch.equal(fitted_rotation(table, 2, seed=3), fitted_rotation(table, 2, seed=3))


def test_a_long_table_is_sampled():
    table = clustered(SAMPLE + 10, 8)
    rotation = fitted_rotation(table, 1)
    assert rotation.shape == (8, 8)
    assert relative_error(table @ rotation, 1) < relative_error(table, 1)


def test_bits_out_of_range():
    with pytest.raises(InputError, match="bits=5"):
        fitted_rotation(clustered(10, 8), 5)
