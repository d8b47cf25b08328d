"""Where the repository is published stands in one place, and README and notebooks agree with it."""

import re
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("jupytext")
from stamp import ROOT, badges, bootstrap, published, stamp, whole

SCRIPTS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))


def agrees(root) -> None:
    address = published(root)
    for script in sorted((root / "notebooks").glob("[0-9][0-9]_*.py")):
        text = script.read_text(encoding="utf-8")
        assert bootstrap(address) + "\n\n# %%" in text, script.name
        assert re.findall(r"^# (\[!\[.*)$", text, re.MULTILINE) == [b for b in [badges(address, script.stem)] if b]
    rows = re.findall(r"^\| \[.*?notebooks/(\w+)\.ipynb\)(.*?) \|", (root / "README.md").read_text("utf-8"), re.M)
    assert dict(rows) == {s.stem: f" {badges(address, s.stem)}".rstrip() for s in SCRIPTS}


def test_everything_agrees_with_the_published_address():
    agrees(ROOT)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("*.png", "*.toml", ".*"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    stamp("", tmp_path)
    return tmp_path


def everything(root) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_stamping(copy):
    before = everything(copy)
    agrees(copy)
    stamp("https://github.com/someone/something", copy)
    agrees(copy)
    once = everything(copy)
    assert "someone/something/blob/main/notebooks/00_start_here.ipynb" in (copy / "README.md").read_text("utf-8")
    assert {name for name in once if once[name] == before[name]} == set(), "a file without the address"
    stamp("https://github.com/someone/something", copy)
    assert everything(copy) == once, "stamping twice changes nothing more"
    stamp("", copy)
    assert everything(copy) == before, "taken out again"


def test_outputs_are_kept(copy):
    import nbformat

    path = copy / "notebooks" / "00_start_here.ipynb"
    before = nbformat.read(path, 4)
    stamp("https://github.com/someone/something", copy)
    after = nbformat.read(path, 4)
    assert [cell.get("outputs") for cell in after.cells] == [cell.get("outputs") for cell in before.cells]


def test_bootstrap_without_a_zip_says_what_to_do(tmp_path):
    code = "import sys; sys.modules['google.colab'] = sys\n" + bootstrap("")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("Upload a zip of the repository as nstlib.zip")


@pytest.mark.parametrize("wrong", ["owner", "a/b/c", "owner/na me", "ftp://x"])
def test_wrong_repository(wrong):
    with pytest.raises(ValueError, match="owner/name"):
        whole(wrong)


def test_addresses():
    assert whole("owner/name") == "https://github.com/owner/name" and whole("file:///x/y") == "file:///x/y"
    assert badges("file:///x/y", "00_start_here") == ""
