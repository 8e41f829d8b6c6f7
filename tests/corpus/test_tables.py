"""Tables whose files a log names: recognised from inside, too."""

import pytest

from pipeline.corpus.files import find_files
from pipeline.errors import CorpusError
from tests.corpus.test_files import names, write

LOGS = {
    "Delta Lake": "_delta_log/00000000000000000000.json",
    "Iceberg": "metadata/v1.metadata.json",
    "Hudi": ".hoodie/hoodie.properties",
}


@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.parametrize("inner", ["data", "lang=en", "data/lang=en/year=2024"])
def test_a_folder_inside_of_a_table_is_none_either(tmp_path, kind, inner):
    write(tmp_path / "table" / inner / "a.parquet")
    log = tmp_path / "table" / LOGS[kind]
    log.parent.mkdir()
    log.touch()
    for corpus in (inner, f"{inner}/", f"{inner}/*.parquet"):
        with pytest.raises(CorpusError, match=f"/table is an? {kind} table"):
            find_files(f"{tmp_path}/table/{corpus}")
    assert names(tmp_path / "table" / inner / "a.parquet") == ["a.parquet"], "named outright"


def test_a_folder_beside_metadata_of_another_kind_is_a_corpus(tmp_path):
    write(tmp_path / "set/data/a.parquet")
    (tmp_path / "set/metadata").mkdir()
    (tmp_path / "set/metadata/croissant.json").touch()
    assert names(tmp_path / "set/data") == ["a.parquet"]
    assert names(tmp_path / "set") == ["data/a.parquet"]
