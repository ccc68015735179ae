"""How long the machines run: the same few examples in every test run, many random ones in the campaign."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, Phase, settings

CAMPAIGN: Final = "P2P_COPY_MACHINE"
"""Environment variable: how many examples; each run draws others."""

_MANY: Final = int(os.environ.get(CAMPAIGN, "0"))


def examples(few: int, steps: int) -> settings:
    """Return settings for a machine: `few` examples in a test run, many in a campaign."""
    return settings(
        max_examples=_MANY or few,
        stateful_step_count=2 * steps if _MANY else steps,
        derandomize=not _MANY,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if _MANY else (Phase.generate,),
        print_blob=bool(_MANY),
    )


STATEFUL: Final = examples(50, 25)
STORIES: Final = examples(20, 15)
EXCHANGES: Final = examples(40, 25)
