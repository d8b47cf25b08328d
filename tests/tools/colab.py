"""Try the notebooks as Colab does: its versions, a kernel that knows google.colab, an install from a git address.

python tests/tools/colab.py [NN …]      (make colab; needs Python 3.12 and some gigabytes for Colab's torch)

The repository's last commit is cloned, its copy is stamped with the clone's address, and every notebook is executed
alone in an empty folder: its first cell installs nstlib. torch and the widgets must stay what they were.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from stamp import stamp

ROOT = Path(__file__).parents[2]
BASE = ROOT / "build" / "colab"
COLAB = "ipywidgets==7.7.1 ipython==7.34.0 ipykernel<7 torch==2.11.* torchvision==0.26.*".split()
COLAB += (
    "numpy pandas matplotlib pillow tqdm scikit-image safetensors accelerate pip".split()
)  # there already, as in Colab
KEPT = ("torch", "torchvision", "ipywidgets", "ipython", "ipykernel", "numpy")
DRIVE = "def mount(path):\n    print('Mounted at', path)\n"
FILES = """from skimage import data, io

def upload():  # as if the user had chosen this photograph: it lies in the working folder afterwards
    io.imsave("holiday.jpg", data.coffee()[:200, :300])
    return {"holiday.jpg": open("holiday.jpg", "rb").read()}
"""


def run(*command, **options) -> str:
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, **options).stdout


def environment() -> Path:
    """A virtual environment with Colab's versions; returns its Python."""
    python = BASE / "venv" / "bin" / "python"
    if not python.exists():
        try:
            run("python3.12", "--version")
            newest = "python3.12"
        except (OSError, subprocess.CalledProcessError):
            newest = sys.executable
        print(f"building Colab's environment with {Path(newest).name} (torch is large)", flush=True)
        run(newest, "-m", "venv", BASE / "venv")
    run(python, "-m", "pip", "install", "-q", *COLAB)
    return python


def stand_in(folder: Path) -> Path:
    """A google.colab, imported before everything else: a drive that is not mounted, an upload of one photograph."""
    (folder / "google" / "colab").mkdir(parents=True, exist_ok=True)
    (folder / "google" / "colab" / "__init__.py").write_text("")
    (folder / "google" / "colab" / "drive.py").write_text(DRIVE)
    (folder / "google" / "colab" / "files.py").write_text(FILES)
    (folder / "sitecustomize.py").write_text("import google.colab\n")
    return folder


def kernel(python: Path) -> None:
    """A kernel of that environment, by the name that the notebooks ask for."""
    folder = BASE / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True, exist_ok=True)
    spec = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Colab"}
    spec |= {"language": "python", "env": {"PYTHONPATH": str(stand_in(BASE / "stand_in"))}}
    (folder / "kernel.json").write_text(json.dumps(spec))
    os.environ["JUPYTER_PATH"] = str(BASE / "jupyter")


def published() -> Path:
    """The last commit behind a git address, and a copy of it that is stamped with this address."""
    for name in ("nstlib.git", "copy"):
        shutil.rmtree(BASE / name, ignore_errors=True)
    run("git", "clone", "-q", "--bare", ROOT, BASE / "nstlib.git")
    run("git", "clone", "-q", BASE / "nstlib.git", BASE / "copy")
    stamp(f"file://{BASE / 'nstlib.git'}", BASE / "copy")
    return BASE / "copy" / "notebooks"


def versions(python: Path) -> dict[str, str]:
    listed = json.loads(run(python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"))
    return {each["name"]: each["version"] for each in listed if each["name"] in KEPT}


def execute(path: Path, python: Path) -> None:
    """One notebook, alone in an empty folder, on a machine that has no nstlib yet."""
    subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "nstlib"], check=True, capture_output=True)
    content = BASE / "content"
    shutil.rmtree(content, ignore_errors=True)
    content.mkdir()
    book = nbformat.read(path, 4)
    NotebookClient(book, timeout=1800, kernel_name="python3", resources={"metadata": {"path": content}}).execute()
    said = "".join(output.get("text", "") for output in book.cells[1].outputs)
    assert "nstlib is installed" in said, f"{path.stem}: the first cell did not install: {said}"


def main(chosen: list[str]) -> None:
    BASE.mkdir(parents=True, exist_ok=True)
    python, notebooks = environment(), published()
    kernel(python)
    before = versions(python)
    for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        if not chosen or path.name[:2] in chosen:
            execute(path, python)
            print(f"{path.stem}: done", flush=True)
    after = versions(python)
    assert after == before, f"the install replaced {before} by {after}"
    print(", ".join(f"{name} {version}" for name, version in after.items()), "as before")


if __name__ == "__main__":
    main(sys.argv[1:])
