"""What a document counts for in percentiles and distributions: one, its tokens or its bytes.

Owns the setting, which a report and a filter share.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Weight = Literal["documents", "tokens", "bytes"]
UNWEIGHTED: Weight = "documents"


class Weighted(BaseModel):
    """The setting by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    weight: Weight = Field(
        default=UNWEIGHTED,
        description="What percentiles, distributions, length bands and threshold curves are "
        "weighted by: documents, tokens or bytes.",
    )
