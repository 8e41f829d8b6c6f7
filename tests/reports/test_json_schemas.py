"""The JSON Schema in the package is that of the code, and a real report follows it."""

import json

import jsonschema
import pytest

from pipeline.reports.json_schemas import FOLDER, MODELS, json_schema
from pipeline.reports.report import build_report
from tests.support.runs import make_run


@pytest.mark.parametrize("name", MODELS)
def test_the_file_is_current(name):
    path = FOLDER / f"{name}.schema.json"
    assert path.read_text() == json_schema(name), "run: make schemas"


@pytest.mark.parametrize("name", MODELS)
def test_the_schema_is_one(name):
    jsonschema.Draft202012Validator.check_schema(json.loads(json_schema(name)))


@pytest.fixture(scope="module")
def report(tmp_path_factory, tiny_model) -> dict[str, object]:
    texts = ["one", "two", "two", "", None, "three " * 100]
    store = make_run(tmp_path_factory.mktemp("run"), tiny_model, texts)
    built = build_report(store, fail_if=("documents > 3", "p5(nll) > 1"))
    return json.loads(built.model_dump_json())


def test_a_real_report_follows_it(report):
    jsonschema.validate(report, json.loads(json_schema("report")))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("overall", "num_documents"), "many"),
        (("duplicates", "largest"), None),
        (("requirements", 0, "failed"), 3),
        (("examples", 0, "perplexity"), None),
    ],
    ids=str,
)
def test_what_is_no_report_does_not(report, path, value):
    changed = json.loads(json.dumps(report))
    *parents, last = path
    place = changed
    for key in parents:
        place = place[key]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, json.loads(json_schema("report")))
