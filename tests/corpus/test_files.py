"""Finding a corpus's Parquet files and checking them, before any model is loaded."""

import os
import re
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipeline.corpus.columns import Columns, choose_columns
from pipeline.corpus.files import Footer, find_files, read_footers
from pipeline.errors import CorpusError

DICTIONARY = pa.dictionary(pa.int32(), pa.string())
NARROW_DICTIONARY = pa.dictionary(pa.int8(), pa.string())
NANOSECONDS = pa.timestamp("ns")
ODD_NAMES = [
    "a b.parquet",
    "100%.parquet",
    "%20.parquet",
    "lang=de.parquet",
    "part#7.parquet",
    "Übung-日本.parquet",
    "what?.parquet",
    "star*.parquet",
    "[0-9].parquet",
    "quo'te\".parquet",
    "plus+and&.parquet",
    "new\nline.parquet",
]


def write(path: Path, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns or {"text": ["one", "two"]}), path)
    return path


def names(corpus: Path | str) -> list[str]:
    return list(find_files(str(corpus))[1])


def footers_of(folder: Path, text_column: str = "text") -> tuple[list[Footer], dict[str, str]]:
    root, files = find_files(str(folder))
    return read_footers(root, files, text_column)


def footer(name: str, **kinds: pa.DataType) -> Footer:
    """A footer of a file that need not exist: for the rules on columns, only names and types."""
    info = fs.FileInfo(name, fs.FileType.File)
    return Footer(name, info, pa.schema(list(kinds.items())), ())


# --- listing


def test_a_file_is_a_corpus_of_one_in_its_folder(tmp_path):
    write(tmp_path / "other.parquet")
    file = write(tmp_path / "one.parquet")
    root, files = find_files(str(file))
    assert list(files) == ["one.parquet"]
    assert root.location == str(tmp_path)
    assert files["one.parquet"].size == file.stat().st_size


def test_a_file_named_outright_needs_no_parquet_ending_and_may_be_hidden(tmp_path):
    assert names(write(tmp_path / "_data.bin")) == ["_data.bin"]


def test_a_folder_is_searched_at_any_depth_in_sorted_order(tmp_path):
    for name in ("b.parquet", "a/z.parquet", "a/b/c.pq", "a.parquet"):
        write(tmp_path / name)
    (tmp_path / "README.md").write_text("not data")
    assert names(tmp_path) == ["a.parquet", "a/b/c.pq", "a/z.parquet", "b.parquet"]
    assert names(f"{tmp_path}/") == names(tmp_path)


@pytest.mark.parametrize(
    "hidden",
    ["_SUCCESS.parquet", ".tmp-1.parquet", "_temporary/a.parquet", "a/.snapshot/b.parquet"],
)
def test_hidden_names_are_skipped_at_any_depth(tmp_path, hidden):
    write(tmp_path / "seen.parquet")
    write(tmp_path / hidden)
    assert names(tmp_path) == ["seen.parquet"]
    assert names(f"{tmp_path}/**") == ["seen.parquet"]


def test_a_partition_whose_column_begins_with_an_underscore_is_not_hidden(tmp_path):
    """As Spark has it: its rows would be missing unsaid."""
    write(tmp_path / "_lang=en/a.parquet")
    write(tmp_path / "_old/a.parquet")
    assert names(tmp_path) == ["_lang=en/a.parquet"]


@pytest.mark.parametrize("ending", ["gz", "zst", "bz2", "zip", "part", "crdownload"])
def test_parquet_that_is_packed_or_not_whole_is_an_unreadable_file(tmp_path, ending):
    write(tmp_path / "a.parquet")
    (tmp_path / f"b.Parquet.{ending}").write_bytes(b"\x1f\x8b\x08")
    _, unreadable = footers_of(tmp_path)
    assert list(unreadable) == [f"b.Parquet.{ending}"]
    assert "decompress it, or finish the download" in unreadable[f"b.Parquet.{ending}"]
    assert names(tmp_path / "*.parquet") == ["a.parquet"], "a glob says which are meant"


def test_documents_in_other_formats_are_told_of(tmp_path, caplog):
    write(tmp_path / "a.parquet")
    for name in ("README.md", "info.json", "a.parquet.md5", "_x.csv", ".y.csv"):
        (tmp_path / name).touch()
    assert names(tmp_path) == ["a.parquet"]
    assert caplog.messages == []
    for name in ("c.jsonl.zst", "en/b.csv", "d.json.gz", "e.arrow"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path) == ["a.parquet"]
    [message] = caplog.messages
    assert message.endswith(
        f"{tmp_path}: ignoring files that are not Parquet: c.jsonl.zst and 3 more"
    )
    assert names(tmp_path) == ["a.parquet"]
    assert len(caplog.messages) == 1, "an audit looks twice, and says it once"


def test_a_corpus_inside_a_hidden_folder_is_found(tmp_path):
    """Only names below the corpus are judged; the user named what is above."""
    write(tmp_path / ".cache" / "_x" / "a.parquet")
    assert names(tmp_path / ".cache" / "_x") == ["a.parquet"]
    assert names(tmp_path / ".cache" / "_x" / "*.parquet") == ["a.parquet"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.parquet", ["a.parquet", "b.parquet"]),
        ("?.parquet", ["a.parquet", "b.parquet"]),
        ("[ac].parquet", ["a.parquet"]),
        ("[!a].parquet", ["b.parquet"]),
        ("*/*.parquet", ["en/a.parquet", "fr/a.parquet"]),
        ("en/*.parquet", ["a.parquet"]),
        (
            "**/*.parquet",
            ["a.parquet", "b.parquet", "en/2024/c.parquet", "en/a.parquet", "fr/a.parquet"],
        ),
        ("en/**", ["2024/c.parquet", "a.parquet"]),
        ("**/c.parquet", ["en/2024/c.parquet"]),
        ("en/**/c.parquet", ["2024/c.parquet"]),
        ("e*/**/a.parquet", ["en/a.parquet"]),
        ("*/2024/*", ["en/2024/c.parquet"]),
        ("*.data", ["d.data"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_globs(tmp_path, pattern, found):
    for name in ("a.parquet", "b.parquet", "d.data", "en/a.parquet", "en/2024/c.parquet"):
        write(tmp_path / name)
    write(tmp_path / "fr/a.parquet")
    assert names(f"{tmp_path}/{pattern}") == found


def test_a_glob_may_be_relative(tmp_path, monkeypatch):
    write(tmp_path / "in" / "a.parquet")
    monkeypatch.chdir(tmp_path)
    assert names("*/*.parquet") == ["in/a.parquet"]
    root, files = find_files("in/*.parquet")
    assert (root.path, list(files)) == (str(tmp_path / "in"), ["a.parquet"])


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_found_in_a_folder_as_a_file_and_read(tmp_path, name):
    file = write(tmp_path / "in [1] 50%" / name)
    for corpus in (file, file.parent):
        root, files = find_files(str(corpus))
        assert list(files) == [name]
        footers, unreadable = read_footers(root, files, "text")
        assert ([f.name for f in footers], unreadable) == ([name], {})


def test_a_file_whose_name_is_a_glob_means_itself(tmp_path):
    """`a[1].parquet` as a pattern would match only `a1.parquet`."""
    file = write(tmp_path / "a[1].parquet")
    write(tmp_path / "a1.parquet")
    assert names(file) == ["a[1].parquet"]
    # Without that file it is a pattern again.
    file.unlink()
    assert names(file) == ["a1.parquet"]


def test_a_uri_is_a_corpus(tmp_path):
    write(tmp_path / "a b" / "c.parquet")
    assert names((tmp_path / "a b").as_uri()) == ["c.parquet"]
    assert names(f"file://{tmp_path}/*/*.parquet") == ["a b/c.parquet"]


@pytest.mark.parametrize("name", ["gone", "gone.parquet", "gone/*.parquet"])
def test_no_such_path(tmp_path, name):
    with pytest.raises(CorpusError, match=r"no such file or folder: .*gone") as raised:
        find_files(str(tmp_path / name))
    assert raised.value.hint == "CORPUS is a Parquet file, a folder or a glob"


def test_a_misspelt_path_names_the_one_beside_it(tmp_path):
    write(tmp_path / "corpus" / "a.parquet")
    with pytest.raises(CorpusError, match="no such file or folder") as raised:
        find_files(f"{tmp_path}/corpsu/")
    assert raised.value.hint == f"did you mean {tmp_path}/corpus?"


def test_links_to_files_are_files_and_circles_end(tmp_path):
    """The hub's cache is made of links to files; a folder that holds itself is a trap."""
    corpus = tmp_path / "corpus"
    (corpus / "deep").mkdir(parents=True)
    (tmp_path / "blob").touch()
    (corpus / "a.parquet").symlink_to(tmp_path / "blob")
    (corpus / "deep" / "circle").symlink_to(corpus)
    assert list(find_files(str(corpus))[1]) == ["a.parquet"]


def test_a_run_in_place_of_a_corpus(tmp_path):
    for name in ("manifest.json", "_SUCCESS", "scores/part-00000.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(CorpusError, match=f"(?m)^{tmp_path} is a run directory, not a corpus$"):
        find_files(str(tmp_path))
    assert list(find_files(str(tmp_path / "scores"))[1]) == ["part-00000.parquet"]


@pytest.mark.parametrize("name", ["", "*.parquet", "**"], ids=["folder", "glob", "deep glob"])
def test_no_parquet_in_it(tmp_path, name):
    (tmp_path / "_hidden.parquet").write_bytes(b"")
    with pytest.raises(CorpusError, match=f"no Parquet file in {re.escape(str(tmp_path))}") as r:
        find_files(f"{tmp_path}/{name}")
    assert ".parquet, .pq, .parq" in r.value.hint


def test_a_file_name_that_is_not_utf8_is_a_handled_error(tmp_path):
    write(tmp_path / "a.parquet")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.parquet")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(CorpusError, match="UTF-8"):
        find_files(str(tmp_path))


# --- names that are no files


def link(path: Path, target: Path | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("pattern", ["", "*", "**/*", "*.p*"], ids=["folder", "*", "**", "*.p*"])
@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("x.parquet", lambda p: link(p, "gone.parquet"), "a broken link to gone"),
        ("x.parquet", lambda p: link(p, "x.parquet"), "a broken link to .*[Tt]oo many levels"),
        ("x.parquet", pipe, "neither a file nor a folder"),
    ],
    ids=["dangling link", "circular link", "pipe"],
)
def test_what_is_no_file_is_unreadable_like_any_other(tmp_path, pattern, name, make, reason):
    write(tmp_path / "a.parquet")
    make(tmp_path / name)
    footers, unreadable = footers_of(tmp_path / pattern if pattern else tmp_path)
    assert [one.name for one in footers] == ["a.parquet"]
    assert list(unreadable) == [name]
    assert re.search(reason, unreadable[name])


def test_a_link_to_a_folder_that_is_gone_may_have_led_to_files(tmp_path):
    write(tmp_path / "en/a.parquet")
    link(tmp_path / "de", tmp_path / "gone")
    for corpus in (tmp_path, tmp_path / "*/*.parquet", tmp_path / "**/a.parquet"):
        assert list(footers_of(corpus)[1]) == ["de"]
    assert footers_of(tmp_path / "en/*.parquet")[1] == {}


def test_a_folder_that_cannot_be_looked_into_is_unreadable(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet")
    write(tmp_path / "closed/b.parquet")
    allowed = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return allowed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert footers_of(tmp_path)[1] == {"closed": "Permission denied"}
    assert footers_of(tmp_path / "**/*.parquet")[1] == {"closed": "Permission denied"}
    with pytest.raises(CorpusError, match="closed cannot be listed: Permission denied"):
        find_files(str(tmp_path / "closed"))


def test_a_pipe_in_place_of_a_corpus_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.parquet")
    with pytest.raises(CorpusError, match=r"x\.parquet is neither a file nor a folder"):
        find_files(str(tmp_path / "x.parquet"))


def test_hidden_links_are_passed_over_as_hidden_files_are(tmp_path):
    write(tmp_path / "a.parquet")
    link(tmp_path / ".x.parquet", "gone")
    assert names(tmp_path) == ["a.parquet"]


# --- names, and folders that are not what they look like


def test_every_ending_of_parquet_is_taken(tmp_path):
    written = ["a.parquet", "b.PARQUET", "c.parq", "d.Pq", "e.pq", "f.PARQ"]
    for name in written:
        write(tmp_path / name)
    assert names(tmp_path) == written


def test_a_folder_that_is_named_as_a_file_stands_for_its_files_under_a_glob(tmp_path):
    """As Spark writes them."""
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet/part-0.parquet")
    write(tmp_path / "b.parquet/deep/part-1.parquet")
    (tmp_path / "b.parquet/_SUCCESS").touch()
    write(tmp_path / "c/d.parquet")
    found = ["a.parquet", "b.parquet/deep/part-1.parquet", "b.parquet/part-0.parquet"]
    assert names(tmp_path / "*.parquet") == found
    assert names(tmp_path) == [*found, "c/d.parquet"]


@pytest.mark.parametrize(
    ("log", "kind"),
    [
        ("_delta_log/00000000000000000000.json", "Delta Lake"),
        ("metadata/v1.metadata.json", "Iceberg"),
        (".hoodie/hoodie.properties", "Hudi"),
    ],
)
def test_a_table_whose_files_a_log_names_is_no_corpus(tmp_path, log, kind):
    write(tmp_path / "table/data/a.parquet")
    (tmp_path / "table" / log).parent.mkdir()
    (tmp_path / "table" / log).touch()
    for corpus in ("table", "", "table/**/*.parquet"):
        with pytest.raises(CorpusError, match=f"table is an? {kind} table") as raised:
            find_files(f"{tmp_path}/{corpus}")
        assert "export the table" in raised.value.hint
    assert names(tmp_path / "table/data/a.parquet") == ["a.parquet"]
    write(tmp_path / "other/b.parquet")
    assert names(tmp_path / "oth*/*.parquet") == ["other/b.parquet"]


# --- footers


def test_a_footer_has_rows_and_text_bytes_of_every_row_group(tmp_path):
    table = pa.table({"id": range(5), "text": ["x" * 1000, "y", "z", "w", "v"]})
    pq.write_table(
        table,
        tmp_path / "a.parquet",
        row_group_size=2,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
    )
    (found,), _ = footers_of(tmp_path)
    assert [rows for rows, _ in found.row_groups] == [2, 2, 1]
    sizes = [size for _, size in found.row_groups]
    # Uncompressed bytes of the text column only: neither what zstd made of them nor the ids.
    assert 1000 < sizes[0] < 1100
    assert sizes[2] < 60


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.string(), pa.large_string(), pa.string_view(), DICTIONARY, NARROW_DICTIONARY),
        *(pa.binary(), pa.large_binary(), pa.binary_view()),
    ],
    ids=str,
)
def test_every_type_of_text_is_accepted(tmp_path, kind):
    write(tmp_path / "a.parquet", text=pa.array(["a", None]).cast(kind))
    (found,), unreadable = footers_of(tmp_path)
    assert found.schema.field("text").type == kind
    assert unreadable == {}


def test_a_text_inside_of_another_column_is_told_of(tmp_path):
    write(tmp_path / "a.parquet", message=[{"text": "x"}], **{"a.b": ["y"]})
    with pytest.raises(CorpusError, match=r"'message\.text' is a field of the column 'mess") as r:
        footers_of(tmp_path, "message.text")
    assert "a column of its own" in r.value.hint
    assert footers_of(tmp_path, "a.b")[1] == {}


@pytest.mark.parametrize("asked", [("lang",), ("*",), ("source", "lang")], ids=str)
def test_a_column_that_is_in_the_names_of_folders_is_not_left_out_unsaid(tmp_path, asked):
    write(tmp_path / "lang=en/a.parquet", text=["x"], source=["web"])
    footers, _ = footers_of(tmp_path)
    with pytest.raises(CorpusError, match=r"column 'lang' is in the folder names \(lang=en/\)"):
        choose(*footers, carry=asked)
    with pytest.raises(CorpusError, match="'lang' is in the folder names"):
        choose(*footers, id_column="lang")
    assert choose(*footers, carry=("source",))[0].carried == ("source",)


def test_so_are_those_of_folders_inside_of_them(tmp_path):
    write(tmp_path / "lang=en/year=2024/a.parquet", text=["x"], lang=["en"])
    footers, _ = footers_of(tmp_path)
    with pytest.raises(CorpusError, match=r"column 'year' is in the folder names \(year=2024/\)"):
        choose(*footers, carry=("year",))
    assert choose(*footers, carry=("lang",))[0].carried == ("lang",)


def test_text_without_rows_or_row_groups_is_accepted(tmp_path):
    write(tmp_path / "a.parquet", text=pa.array([], pa.string()))
    (found,), _ = footers_of(tmp_path)
    assert sum(rows for rows, _ in found.row_groups) == 0


def test_a_missing_text_column_names_what_there_is_and_the_near_name(tmp_path):
    write(tmp_path / "a.parquet", Text=["x"], url=["y"])
    with pytest.raises(CorpusError, match=r"a\.parquet: no column 'text'; it has Text, url") as r:
        footers_of(tmp_path)
    assert r.value.hint == "did you mean text_column Text?"


def test_a_missing_text_column_with_nothing_near(tmp_path):
    write(tmp_path / "a.parquet", body=["x"])
    with pytest.raises(CorpusError, match="no column 'text'; it has body") as raised:
        footers_of(tmp_path)
    assert raised.value.hint == "name it with text_column"


def test_a_file_without_columns_says_so(tmp_path):
    pq.write_table(pa.table({}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=r"no column 'text'; it has no columns$") as raised:
        footers_of(tmp_path)
    assert raised.value.hint is None


def test_of_very_many_columns_some_are_named(tmp_path):
    write(tmp_path / "a.parquet", **{f"n{i}": [i] for i in range(3000)})
    with pytest.raises(CorpusError, match=r"it has n0, n1, .*, n19, \.\.\.\n"):
        footers_of(tmp_path)


@pytest.mark.parametrize(
    "value",
    [1, 1.5, True, ["a"], {"a": "b"}],
    ids=["integer", "float", "boolean", "list", "struct"],
)
def test_a_text_column_that_is_not_text_names_its_type_and_the_text_columns(tmp_path, value):
    column = pa.array([value])
    write(tmp_path / "a.parquet", text=column, body=["x"], title=["y"])
    kind = re.escape(str(pq.read_schema(tmp_path / "a.parquet").field("text").type))
    with pytest.raises(CorpusError, match=rf"column 'text' is {kind}, not text") as raised:
        footers_of(tmp_path)
    assert raised.value.hint == "text columns: body, title; name one with text_column"


def test_no_text_column_at_all(tmp_path):
    write(tmp_path / "a.parquet", text=[1])
    with pytest.raises(CorpusError, match="is int64, not text") as raised:
        footers_of(tmp_path)
    assert raised.value.hint.startswith("text columns: none;")


def test_the_text_column_beside_nested_columns(tmp_path):
    """Nested columns have several leaves: the text's place among leaves is not its place."""
    many = [{"a": i, "b": [i] * 50} for i in range(2)]
    write(tmp_path / "a.parquet", meta=many, text=["x" * 5000, "y"])
    (found,), _ = footers_of(tmp_path)
    ((rows, size),) = found.row_groups
    assert rows == 2
    assert size > 5000


def test_damaged_files_are_recorded_with_the_reason_and_the_others_go_on(tmp_path):
    good = write(tmp_path / "b.parquet")
    content = good.read_bytes()
    write(tmp_path / "z.parquet")
    write(tmp_path / "numbers.parquet", text=[1])
    write(tmp_path / "other.parquet", body=["x"])
    (tmp_path / "a-empty.parquet").write_bytes(b"")
    (tmp_path / "cut.parquet").write_bytes(content[: len(content) // 2])
    (tmp_path / "page.parquet").write_text("<html>404 not found</html>" * 9)
    # The footer's own bytes: the magic number is in its place, what is before it is not.
    (tmp_path / "torn.parquet").write_bytes(content[:-60] + b"\xff" * 50 + content[-10:])

    footers, unreadable = footers_of(tmp_path)

    assert [footer.name for footer in footers] == ["b.parquet", "z.parquet"]
    assert list(unreadable) == [
        "a-empty.parquet",
        "cut.parquet",
        "numbers.parquet",
        "other.parquet",
        "page.parquet",
        "torn.parquet",
    ]
    reasons = {
        "a-empty.parquet": "not a readable Parquet file: .*0 bytes",
        "cut.parquet": "not a readable Parquet file: .*magic bytes",
        "page.parquet": "not a readable Parquet file: .*magic bytes",
        "torn.parquet": "not a readable Parquet file: ",
        "numbers.parquet": "column 'text' is int64",
        "other.parquet": "no column 'text'",
    }
    for name, reason in reasons.items():
        assert re.match(reason, unreadable[name]), (name, unreadable[name])
        assert "\n" not in unreadable[name]


def test_a_corpus_of_which_nothing_can_be_read_is_refused(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.parquet").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"a\.parquet \(and 2 more files\): not a readable"):
        footers_of(tmp_path)


def test_who_comes_with_json_lines_is_told_what_makes_them_parquet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    with pytest.raises(CorpusError, match="not a readable Parquet file") as named:
        read_footers(*find_files("a.jsonl"), "text")
    with pytest.raises(CorpusError, match="no Parquet file") as searched:
        find_files(".")
    for hint in (named.value.hint, searched.value.hint):
        [(source, target)] = re.findall(
            r"polars\.scan_ndjson\('(.*)'\)\.sink_parquet\('(.*)'\)$", hint
        )
        pl.scan_ndjson(source).sink_parquet(target)
        footers, _ = read_footers(*find_files("."), "text")
        assert [rows for rows, _ in footers[0].row_groups] == [2]
        (tmp_path / target).unlink()
    (tmp_path / "torn.parquet").write_bytes(b"")
    with pytest.raises(CorpusError) as torn:
        read_footers(*find_files("torn.parquet"), "text")
    assert torn.value.hint is None


def test_a_file_with_two_text_columns_is_recorded_like_any_that_cannot_be_used(tmp_path):
    twice = pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["text", "text"])
    pq.write_table(twice, tmp_path / "a.parquet")
    write(tmp_path / "b.parquet")
    footers, unreadable = footers_of(tmp_path)
    assert [footer.name for footer in footers] == ["b.parquet"]
    assert "'text'" in unreadable["a.parquet"]


# --- columns


def choose(
    *footers: Footer, id_column: str | None = None, carry: tuple[str, ...] = ()
) -> tuple[Columns, pa.DataType | None, list[pa.Field]]:
    return choose_columns(list(footers), text="text", id_column=id_column, carry=carry)


TEXT = pa.string()


@pytest.mark.parametrize(
    ("kinds", "chosen"),
    [
        ({"id": pa.int64(), "doc_id": pa.string()}, "doc_id"),
        ({"id": pa.int64()}, "id"),
        ({"ID": pa.int64(), "_id": pa.string()}, None),
    ],
    ids=["doc_id before id", "id", "nothing else"],
)
def test_the_id_column_that_is_taken_by_default(kinds, chosen):
    columns, kind, _ = choose(footer("a", text=TEXT, **kinds))
    assert columns.doc_id == chosen
    assert kind == (kinds[chosen] if chosen else None)


def test_the_default_id_must_be_in_every_file():
    with_both = footer("a", text=TEXT, doc_id=TEXT, id=TEXT)
    columns, _, _ = choose(with_both, footer("b", text=TEXT, id=TEXT))
    assert columns.doc_id == "id"
    columns, _, _ = choose(with_both, footer("b", text=TEXT))
    assert columns.doc_id is None


def test_a_default_id_that_no_score_could_hold_is_told_of_and_left(caplog):
    """Nobody asked for it: it is no reason to refuse the run."""
    both = footer("a", text=TEXT, id=pa.int64()), footer("b", text=TEXT, id=TEXT)
    columns, kind, _ = choose(*both)
    assert (columns.doc_id, kind) == (None, None)
    assert "'id' is not used as doc_id: column 'id' has incompatible types" in caplog.text
    with pytest.raises(CorpusError, match="incompatible types"):
        choose(*both, id_column="id")


def test_an_id_column_that_is_asked_for():
    columns, kind, carried = choose(footer("a", text=TEXT, url=TEXT, id=TEXT), id_column="url")
    assert (columns, kind, carried) == (Columns("text", "url", ()), TEXT, [])


def test_an_id_column_that_is_not_there_names_the_near_one():
    with pytest.raises(CorpusError, match=r"no column 'urls' in the corpus \(id_column\)") as r:
        choose(footer("a", text=TEXT, url=TEXT), id_column="urls")
    assert r.value.hint == "did you mean 'url'?"


def test_carried_columns_keep_their_order_and_come_once():
    one = footer("a", text=TEXT, lang=TEXT, source=DICTIONARY)
    columns, _, carried = choose(one, carry=("source", "lang", "source"))
    assert columns.carried == ("source", "lang")
    assert carried == [pa.field("source", DICTIONARY), pa.field("lang", TEXT)]


@pytest.mark.parametrize(
    ("asked", "hint"),
    [("Sorce", "did you mean 'source'?"), ("zzz", "it has text, source")],
    ids=["near", "far"],
)
def test_a_carried_column_that_is_not_there(asked, hint):
    with pytest.raises(CorpusError, match=rf"no column '{asked}' in the corpus \(carry\)") as r:
        choose(footer("a", text=TEXT, source=TEXT), carry=(asked,))
    assert r.value.hint == hint


def test_carried_columns_may_be_listed_with_commas():
    one = footer("a", text=TEXT, lang=TEXT, source=TEXT, **{"lang,source": TEXT})
    assert choose(one, carry=("lang,source",))[0].carried == ("lang,source",)
    assert choose(one, carry=("source,lang", "text"))[0].carried == ("source", "lang", "text")
    with pytest.raises(CorpusError, match=r"no column 'langs' in the corpus \(carry\)"):
        choose(one, carry=("source,langs",))


def test_star_carries_every_column_of_every_file_but_the_id():
    columns, _, _ = choose(
        footer("a", id=TEXT, text=TEXT, lang=TEXT),
        footer("b", id=TEXT, text=TEXT, url=TEXT),
        carry=("*",),
    )
    assert columns == Columns("text", "id", ("text", "lang", "url"))


def test_star_beside_names_is_still_every_column_once():
    columns, _, _ = choose(footer("a", text=TEXT, lang=TEXT), carry=("lang", "*"))
    assert sorted(columns.carried) == ["lang", "text"]


@pytest.mark.parametrize("name", ["file", "row", "status", "nll", "perplexity", "doc_id"])
@pytest.mark.parametrize("how", ["named", "star"])
def test_a_carried_column_may_not_take_a_score_columns_name(name, how):
    kinds = {"text": TEXT, "url": TEXT, name: TEXT}
    carry = ("*",) if how == "star" else (name,)
    with pytest.raises(CorpusError, match=f"column '{name}' cannot be carried") as raised:
        choose(footer("a", **kinds), id_column="url", carry=carry)
    assert "rename the column in the corpus" in raised.value.hint


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.null(), pa.string(), pa.string()),
        (NARROW_DICTIONARY, DICTIONARY, DICTIONARY),
        (pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("ns")),
        (pa.list_(pa.int32()), pa.list_(pa.int64()), pa.list_(pa.int64())),
    ],
    ids=lambda kind: str(kind),
)
def test_types_that_differ_are_promoted(one, other, both):
    for kinds in ((one, other), (other, one)):
        files = [footer(f"{i}", text=TEXT, c=kind, id=kind) for i, kind in enumerate(kinds)]
        _, id_type, carried = choose(*files, carry=("c",))
        assert carried == [pa.field("c", both)]
        assert id_type == (None if pa.types.is_nested(both) else both)


@pytest.mark.parametrize(
    "others",
    [[DICTIONARY], [pa.string_view()], [DICTIONARY, pa.null()]],
    ids=["dictionary", "string_view", "dictionary and nulls only"],
)
def test_the_same_text_written_in_several_ways_goes_together(others):
    """A pandas categorical in one file and plain strings in the next hold the same values."""
    files = [footer(f"{i}", text=TEXT, c=kind) for i, kind in enumerate([TEXT, *others])]
    _, _, carried = choose(*files, carry=("c",))
    assert carried[0].type in (pa.string(), pa.large_string())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.int64(), pa.string()),
        (pa.bool_(), pa.int64()),
        (pa.int64(), pa.uint64()),
        (pa.int8(), pa.uint64()),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.list_(pa.int64()), pa.int64()),
    ],
    ids=[
        "number and text",
        "boolean and number",
        "signs",
        "signs of a narrow one",
        "time zone and none",
        "list and number",
    ],
)
def test_types_that_do_not_go_together_name_themselves_and_their_files(one, other):
    files = [footer("x.parquet", text=TEXT, c=one), footer("y.parquet", text=TEXT, c=other)]
    wanted = re.escape(f"column 'c' has incompatible types: {one} in x.parquet, {other}")
    with pytest.raises(CorpusError, match=wanted) as raised:
        choose(*files, carry=("c",))
    assert "leave the column out of carry" in raised.value.hint


def test_a_column_that_is_there_twice_cannot_be_carried():
    twice = pa.schema([("text", TEXT), ("c", TEXT), ("c", pa.int64())])
    one = Footer("x.parquet", fs.FileInfo("x", fs.FileType.File), twice, ())
    with pytest.raises(CorpusError, match=r"column 'c'.*x\.parquet"):
        choose(one, carry=("c",))


def test_types_of_columns_that_nobody_asked_for_may_differ():
    columns, _, _ = choose(footer("a", text=TEXT, c=TEXT), footer("b", text=TEXT, c=pa.int64()))
    assert columns == Columns("text", None, ())


def test_a_carried_column_that_some_files_lack_is_nullable():
    required = pa.schema([pa.field("text", TEXT), pa.field("c", TEXT, nullable=False)])
    info = fs.FileInfo("a", fs.FileType.File)
    files = [Footer("a", info, required, ()), footer("b", text=TEXT)]
    columns, _, carried = choose(*files, carry=("c",))
    assert columns.carried == ("c",)
    assert carried == [pa.field("c", TEXT, nullable=True)]


def test_a_carried_field_brings_no_metadata_along():
    field = pa.field("c", TEXT, metadata={"comment": "x" * 100})
    info = fs.FileInfo("a", fs.FileType.File)
    one = Footer("a", info, pa.schema([pa.field("text", TEXT), field], {"pandas": "{}"}), ())
    _, _, carried = choose(one, carry=("c",))
    assert carried[0].metadata is None


# --- types that do not go together, by what the files hold


def columns_of(folder: Path, *arrays: pa.Array, **settings) -> tuple:
    for index, column in enumerate(arrays):
        texts = pa.array(["x"] * len(column))
        pq.write_table(pa.table({"text": texts, "c": column}), folder / f"{index}.parquet")
    footers, unreadable = footers_of(folder)
    assert not unreadable
    return choose(*footers, **settings)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pa.array([2**53]), pa.array([0.5]), pa.float64()),
        (pa.array([None], pa.int64()), pa.array([0.5]), pa.float64()),
        (pa.array([3], pa.uint64()), pa.array([0.5]), pa.float64()),
        (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("ns")), pa.timestamp("ns")),
        (pa.array([1]), pa.array([1], pa.decimal128(5, 2)), pa.decimal128(21, 2)),
        (pa.array([1], pa.uint16()), pa.array([1], pa.float16()), pa.float32()),
    ],
    ids=["2^53", "nulls", "unsigned", "near times", "decimal", "small numbers"],
)
def test_types_go_together_where_every_value_fits(tmp_path, one, other, both):
    _, _, carried = columns_of(tmp_path, one, other, carry=("c",))
    assert carried == [pa.field("c", both)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([2**53 + 1]), pa.array([0.5])),
        (pa.array([2**63], pa.uint64()), pa.array([0.5])),
        (pa.array([253_402_300_799 * 10**6], pa.timestamp("us")), pa.array([1], NANOSECONDS)),
        (pa.array([1], pa.decimal128(5, 2)), pa.array([1.5], pa.float16())),
        (pa.array([1]), pa.array([1], pa.decimal128(38, 20))),
        (pa.array([[2**53 + 1]]), pa.array([[0.5]])),
        (pa.array([1], pa.uint64()), pa.array([-1])),
    ],
    ids=["2^53 + 1", "unsigned", "year 9999", "float16", "decimal", "list", "signs"],
)
def test_types_are_refused_by_name_where_a_value_would_change(tmp_path, one, other):
    with pytest.raises(CorpusError, match=r"column 'c' has incompatible types") as r:
        columns_of(tmp_path, one, other, carry=("c",))
    assert "leave the column out of carry" in r.value.hint


def test_a_date_that_no_calendar_has_is_refused_by_name(tmp_path):
    with pytest.raises(CorpusError, match=r"column 'c' of 0\.parquet cannot be carried"):
        columns_of(tmp_path, pa.array([10**8], pa.date32()), carry=("c",))


# --- the id


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1]]),
        pa.array([{"a": 1}]),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([1], pa.duration("s")),
    ],
    ids=["list", "struct", "map", "duration"],
)
def test_an_id_that_cannot_be_shown_is_not_chosen_and_refused_if_named(tmp_path, column, caplog):
    pq.write_table(pa.table({"text": ["x"], "id": column}), tmp_path / "a.parquet")
    footers, _ = footers_of(tmp_path)
    columns, id_type, _ = choose(*footers)
    assert (columns.doc_id, id_type) == (None, None)
    assert "column 'id' is not used as doc_id: its values in" in caplog.text
    with pytest.raises(CorpusError, match="column 'id' cannot be the id: its values in"):
        choose(*footers, id_column="id")


@pytest.mark.parametrize("kind", [pa.uuid(), pa.binary(16), pa.binary()], ids=str)
def test_an_id_of_bytes_is_its_bytes(tmp_path, kind):
    column = pa.array([b"\xff" * 16], kind)
    pq.write_table(pa.table({"text": ["x"], "id": column}), tmp_path / "a.parquet")
    footers, _ = footers_of(tmp_path)
    columns, id_type, _ = choose(*footers)
    assert columns.doc_id == "id"
    assert id_type == (pa.binary() if kind == pa.binary() else pa.binary(16))


def test_an_empty_id_column_is_none():
    columns, id_type, _ = choose(footer("a", text=TEXT, id=TEXT), id_column="")
    assert (columns.doc_id, id_type) == (None, None)


@pytest.mark.parametrize("name", ["a.bin", "a.parq", "a.PARQUET"])
def test_one_whose_name_is_no_parquet_files_may_be_json_lines(tmp_path, name):
    (tmp_path / name).write_text('{"text": "one"}\n' * 9)
    with pytest.raises(CorpusError, match="not a readable Parquet file") as raised:
        footers_of(tmp_path / name)
    assert (raised.value.hint is not None) == (name == "a.bin")
