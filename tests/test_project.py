"""The project around the library: one list of dependencies, nothing astray, notebooks as they should be."""

import ast
import inspect
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nstlib

ROOT = Path(__file__).parents[1]
TOP_LEVEL = set(
    "notebooks nstlib tests data environment.yml pyproject.toml Makefile LICENSE README.md "
    ".ci .github .gitignore .gitattributes".split()
)
CONDA_NAMES = {
    "pytorch": "torch",
    "playwright-python": "playwright",
    "opencv": "opencv-python-headless",
}  # conda-forge's name: PyPI's
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SCRIPTS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """The files that git knows, relative to the root."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).exists()]


def requirements(text: str) -> dict[str, str]:
    """Name and bound of each quoted requirement, such as `"torch>=2.4"`."""
    return dict(re.fullmatch(r"([\w-]+)(.*)", quoted).groups() for quoted in re.findall(r'"([^"]+)"', text))


def from_pyproject(name: str) -> dict[str, str]:
    """One list of pyproject.toml, without tomllib, which Python 3.10 lacks."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (body,) = re.findall(rf"^{name} = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    return requirements(body)


def from_conda(name: str) -> list[str]:
    """One list of environment.yml, without its comments."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    (body,) = re.findall(rf"^{name}:\n((?:  .*\n)+)", text, re.MULTILINE)
    return [line.split("#")[0].strip(" -") for line in body.splitlines() if line.strip().startswith("-")]


def test_the_import_is_quick():
    """What takes a second or more to import is imported where it is used."""
    late = "torchvision torch._dynamo matplotlib ipywidgets av cv2 onnx".split()
    code = f"import sys, nstlib; nstlib.paint; print([name for name in {late} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_conda_and_pip_install_the_same():
    conda = requirements("".join(f'"{line}"' for line in from_conda("dependencies")))
    conda = {CONDA_NAMES.get(name, name): bound for name, bound in conda.items()}
    (python,) = re.findall(r'^requires-python = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert (conda.pop("python"), conda.pop("pip")) == (python, "")
    lists = (from_pyproject(name) for name in ("dependencies", "lab", "video", "export", "dev"))
    assert conda == {name: bound for each in lists for name, bound in each.items()}


def test_only_lower_bounds():
    assert len(from_pyproject("dependencies")) > 5
    for name, bound in from_pyproject("dependencies").items():
        assert re.fullmatch(r">=[\d.]+", bound), f"{name}{bound}"


def test_conda_channels():
    assert from_conda("channels") == ["conda-forge", "nodefaults"]


def test_nothing_astray_at_the_top(tracked):
    assert {path.parts[0] for path in tracked} - TOP_LEVEL == set()


def test_no_large_files(tracked):
    others = [path for path in tracked if path.suffix != ".ipynb"]  # which have a test of their own
    sizes = {str(path): (ROOT / path).stat().st_size for path in others}
    assert {name: size for name, size in sizes.items() if size > 1_000_000} == {}


def test_no_development_data(tracked):
    """The files beside the project are for its development only."""
    assert [path for path in tracked if path.name.startswith(("hard_", "vgg19_oxford"))] == []
    assert [path for path in tracked if path.parts[0] in ("shared", ".venv", "build")] == []


@pytest.mark.parametrize("name", nstlib.__all__)
def test_public_names_say_what_they_are(name):
    thing = getattr(nstlib, name)
    if isinstance(thing, dict):
        return
    said = inspect.getdoc(thing)
    assert said and "." in said.split("\n\n")[0], "a sentence comes first"
    assert not said.startswith(f"{name}("), "a dataclass's own signature is no description"


def test_public_names_are_sorted_and_complete():
    imported = {name for name, thing in vars(nstlib).items() if not (name.startswith("_") or inspect.ismodule(thing))}
    assert set(nstlib.__all__) == imported - {"LATE", "import_module"} | set(nstlib.LATE)


# ── the house: five wings on a ground floor ─────────────────────────────────────────────────────────

WINGS = ["pictures", "critic", "painting", "training", "screen"]
GROUND = ["errors", "limits", "storage", "devices"]
ROOMS = sorted(path for path in (ROOT / "nstlib").rglob("*.py") if path.name != "__init__.py")
room = pytest.mark.parametrize("path", ROOMS, ids=[str(path.relative_to(ROOT / "nstlib")) for path in ROOMS])


def order(wing: str) -> list[str]:
    """The rooms of a wing as its docstring lists them; each may use those before it."""
    if not wing:
        return GROUND
    (listed,) = re.findall(r"those before it: (.*?)\.\n", (ROOT / "nstlib" / wing / "__init__.py").read_text())
    return listed.split(", ")


def place(parts: tuple[str, ...]) -> tuple[int, int]:
    """Floor and number of a room, from its path within nstlib."""
    wing = parts[0] if len(parts) > 1 else ""
    return ["", *WINGS].index(wing), order(wing).index(parts[-1])


def imports(path: Path) -> set[tuple[str, ...]]:
    """The rooms of nstlib that a room imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.relative_to(ROOT / "nstlib").parts[: -node.level]
            inner = tuple(node.module.split(".")) if node.module else ()
            found |= {(*base, *inner)} if inner else {(*base, alias.name) for alias in node.names}
    return found


@room
def test_imports_point_down(path):
    here = path.relative_to(ROOT / "nstlib").with_suffix("").parts
    assert [other for other in imports(path) if place(other) >= place(here)] == []


@room
def test_a_room_is_small_and_says_what_it_is_for(path):
    text = path.read_text(encoding="utf-8")
    assert re.match(r'"""[A-Z].*[.:]', text)
    assert text.count("\n") <= 300
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    assert [
        f.name for f in functions if f.end_lineno - f.lineno >= 50 + len((ast.get_docstring(f) or "").splitlines())
    ] == []


def test_the_network_needs_torch_alone():
    text = (ROOT / "nstlib" / "painting" / "network.py").read_text(encoding="utf-8")
    named = re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)
    assert set(named) - set(sys.stdlib_module_names) == {"torch"}


def test_threads_are_told_how_to_wait_before_torch_is_loaded():
    """Beside another program threads that wait awake crawl; torch asks once, when it is loaded."""
    text = (ROOT / "nstlib" / "__init__.py").read_text(encoding="utf-8")
    assert 0 < text.find('os.environ["OMP_WAIT_POLICY"] = "PASSIVE"') < text.index("\nfrom .")
    for path in SCRIPTS:
        modules = re.findall(r"^(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert "torch" not in modules[: modules.index("nstlib")], path.name


def test_each_notebook_has_its_text():
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in SCRIPTS]


def cells(path: Path) -> list[tuple[str, str]]:
    jupytext = pytest.importorskip("jupytext")
    return [(cell.cell_type, cell.source.rstrip()) for cell in jupytext.read(path).cells]


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def outputs(path: Path) -> list[dict]:
    return [output for cell in code_cells(path) for output in cell["outputs"]]


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@each_notebook
def test_notebook_and_text_agree(path):
    assert cells(path) == cells(path.with_suffix(".py"))


@each_notebook
def test_notebook_is_small(path):
    assert path.stat().st_size < 2_000_000


@each_notebook
def test_notebook_was_executed(path):
    idle = [cell["source"] for cell in code_cells(path) if cell["source"] and not cell["execution_count"]]
    assert idle == []
    assert [output for output in outputs(path) if output["output_type"] == "error"] == []


@each_notebook
def test_notebook_shows_a_picture(path):
    shown = [kind for output in outputs(path) for kind in output.get("data", {})]
    assert any(kind.startswith("image/") for kind in shown) or any(
        re.search(r"<img[^>]+src=[\"']data:image", "".join(output.get("data", {}).get("text/html", "")))
        for output in outputs(path)
    )


@each_notebook
def test_notebook_carries_no_state(path):
    assert "widgets" not in read(path)["metadata"]
    assert [cell["metadata"] for cell in read(path)["cells"] if "execution" in cell["metadata"]] == []


def test_notebooks_lead_from_one_to_the_next():
    for path, following in itertools.pairwise(SCRIPTS):
        text, later = path.read_text(encoding="utf-8"), following.read_text(encoding="utf-8")
        title, later_title = (re.search(r"^# # (.*)$", each, re.MULTILINE)[1] for each in (text, later))
        assert f"Next: [{later_title}]({following.stem}.ipynb)" in text, path.name
        assert f"Previous: [{title}]({path.stem}.ipynb)" in later, following.name


def test_readme_names_what_is_public():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in nstlib.__all__ if f"`{name}`" not in text] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_exercises_have_folded_solutions(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("<details>") == text.count("</details>") >= 1
