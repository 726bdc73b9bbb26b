from jobs.runtime.http_types import LabelRow, ScoredLabel, ScoredSegment
from pipelines.records import SCORED_LABEL, SCORED_SEGMENT, labels_schema


def test_the_described_row_is_the_row_of_the_table() -> None:
    assert list(LabelRow.model_fields) == labels_schema(8).names
    assert list(ScoredLabel.model_fields) == [field.name for field in SCORED_LABEL]
    assert list(ScoredSegment.model_fields) == [field.name for field in SCORED_SEGMENT]


def test_only_what_can_be_left_out_is_optional() -> None:
    optional = {name for name, field in LabelRow.model_fields.items() if not field.is_required()}
    assert optional == {"segments", "embedding"}
