"""Golden bytes from t/vectors/*.json.

JSON has no bytes, decimals or dates: ``{"$bytes": hex}``, ``{"$decimal": text}``,
``{"$time": ISO 8601}``, and ``{"$pairs": [[key, value], ...]}`` for tables whose keys are not str.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[1] / 'vectors'

_TAGGED = {
    '$bytes': bytes.fromhex,
    '$decimal': Decimal,
    '$time': datetime.fromisoformat,
    '$pairs': dict,
}


def _untag(pairs: list[tuple[str, Any]]) -> Any:
    if len(pairs) == 1 and pairs[0][0] in _TAGGED:
        tag, value = pairs[0]
        return _TAGGED[tag](value)
    return dict(pairs)


def load_vectors(name: str) -> list[dict[str, Any]]:
    text = (VECTORS / f'{name}.json').read_text(encoding='utf-8')
    vectors: list[dict[str, Any]] = json.loads(text, object_pairs_hook=_untag)['vectors']
    for vector in vectors:
        vector['wire'] = bytes.fromhex(vector['wire'])
    return vectors
