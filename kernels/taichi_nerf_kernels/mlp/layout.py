"""Where the weights and the activations of each layer lie."""

from itertools import accumulate, pairwise

CHUNK = 1024  # samples that the weight gradient adds up at a time


def mlp_weights(sizes: tuple[int, ...]) -> int:
    """P, the number of weights of a network."""
    return sum(a * b for a, b in pairwise(sizes))


def mlp_activations_shape(sizes: tuple[int, ...], count: int) -> tuple[int, int]:
    """Shape of the hidden activations of `count` samples; one row if there is no hidden layer."""
    return max(sum(sizes[1:-1]), 1), count


def mlp_scratch_shape(sizes: tuple[int, ...], count: int) -> tuple[int, int]:
    """Shape of `scratch`, the gradients g_l of the hidden layers: that of the activations."""
    return mlp_activations_shape(sizes, count)


def weight_offsets(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Where the weights of each layer begin."""
    return (0, *accumulate(a * b for a, b in pairwise(sizes[:-1])))


def row_offsets(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The first row of each hidden layer in `activations`."""
    return (0, *accumulate(sizes[1:-2]))


def product_rows(sizes: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The first rows of the factors of each dW_l: of a_(l-1), which is x or in `activations`, and of g_l, which is in
    `scratch` or y_gradient."""
    rows = row_offsets(sizes)[:len(sizes) - 2]
    return (0, *rows), (*rows, 0)


def first_tiles(sizes: tuple[int, ...], height: int, width: int) -> tuple[int, ...]:
    """The number of each layer's first tile of `height` outputs by `width` inputs, and how many there are of all."""
    return (0, *accumulate(-(-outputs // height) * -(-inputs // width) for inputs, outputs in pairwise(sizes)))
