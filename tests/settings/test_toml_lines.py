"""Where in a file a mistake is."""

from pathlib import Path

from pipeline.settings.toml_lines import at_line


def test_the_line_is_that_of_the_table_that_is_meant(tmp_path: Path):
    file = tmp_path / "winnow.toml"
    file.write_text("[[audit.require]]\nmax = 1\n[[audit.require]]\nmin = 1\nmax = 2")
    assert at_line(file, "audit.require", "max", 2) == " (at line 5)"
    assert at_line(file, "audit.require", None, 2) == " (at line 3)"
    assert at_line(file, "audit.require", "max", 3) == ""
    assert at_line(file, "score", "max") == ""
