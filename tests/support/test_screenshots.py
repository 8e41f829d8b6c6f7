"""Pictures for the README: of the size asked for, light and dark, and no folder of this machine."""

import struct
from pathlib import Path

import pytest
from PIL import Image

from pipeline.reports.page import to_html
from tests.support.chromium import CHROMIUM
from tests.support.reports import make_report
from tests.support.screenshots import photograph, without_folders


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize(("dark", "background"), [(False, (255, 255, 255)), (True, (21, 24, 27))])
def test_a_picture_has_its_size_and_its_colours(tmp_path: Path, dark: bool, background: tuple):
    target = tmp_path / "page.png"
    photograph(to_html(make_report(["web"])), target, dark=dark, width=900, height=600)
    assert struct.unpack(">II", target.read_bytes()[16:24]) == (900, 600)
    with Image.open(target) as picture:
        assert picture.convert("RGB").getpixel((2, 2)) == background


def test_no_folder_of_this_machine_is_in_the_picture():
    report = make_report(["web"])
    source = report.provenance
    model = source.model.model_copy(update={"name": "/home/someone/models/tiny"})
    source = source.model_copy(update={"corpus": "/home/someone/corpus", "model": model})
    report = report.model_copy(update={"provenance": source})
    subtitle = "demo/corpus scored with tiny"
    assert subtitle not in to_html(report)
    assert subtitle in to_html(without_folders(report))
