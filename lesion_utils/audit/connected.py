"""What belongs together, directly or through others."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def connected(numbers: pd.DataFrame) -> np.ndarray:
    """(n,) int: equal for rows that have an equal number (-1 is none) in any column, directly or through others."""
    values = numbers.to_numpy()
    columns = values + len(numbers) + np.arange(values.shape[1]) * len(numbers)  # numbers are below n: no two meet
    row, column = np.nonzero(values >= 0)
    nodes = len(numbers) * (values.shape[1] + 1)
    return components(row, columns[row, column], nodes)[: len(numbers)]


def components(one: np.ndarray, other: np.ndarray, nodes: int) -> np.ndarray:
    """(nodes,) int: equal for nodes that links from ``one`` to ``other``, (m,) int, join directly or through others."""
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1]
