"""Pictures by name: our own paintings, photographs that scikit-image carries, paintings to download."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image
from skimage import data as photographs
from torch import Tensor

from .arguments import Pixels, checked
from .errors import ImageError, reason
from .images import Source, open_image, resize_pil, to_tensor

PHOTOGRAPHS = {
    "astronaut": lambda: photographs.astronaut(),
    "cat": lambda: photographs.chelsea(),
    "coffee": lambda: photographs.coffee(),
    "rocket": lambda: photographs.rocket(),
    "motorcycle": lambda: photographs.stereo_motorcycle()[0],
}
_INSTALLED, _CHECKOUT = Path(__file__).parent / "paintings", Path(__file__).parents[1] / "data" / "paintings"
_FOLDER = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
PAINTINGS = {path.stem: path for path in sorted(_FOLDER.glob("*.jpg"))}  # painted by data/paint.py


@dataclass(frozen=True)
class Masterpiece:
    """A painting in the public domain (its author died over 70 years ago), downloaded on first use."""

    artist: str
    title: str
    year: str
    address: str  # owner/repository/commit/path on raw.githubusercontent.com
    sha256: str  # of the file


HOST = "https://raw.githubusercontent.com/"
MASTERPIECES = {
    "starry_night": Masterpiece(
        "Vincent van Gogh",
        "The Starry Night",
        "1889",
        "jcjohnson/fast-neural-style/813c83441953ead2adb3f65f4cc2d5599d735fa7/images/styles/starry_night.jpg",
        "0592ab0f7b51b3ce72608a95e53880bd93971e5b48f93a0ce8dfd3cbccf3d098",
    ),
    "great_wave": Masterpiece(
        "Katsushika Hokusai",
        "The Great Wave off Kanagawa",
        "c. 1831",
        "jcjohnson/fast-neural-style/813c83441953ead2adb3f65f4cc2d5599d735fa7/images/styles/wave.jpg",
        "14bcf58a39b7095168f27756d76d0c615bb8954acc5eae9e62c66a9684c2ee2b",
    ),
    "the_scream": Masterpiece(
        "Edvard Munch",
        "The Scream",
        "1893",
        "jcjohnson/fast-neural-style/813c83441953ead2adb3f65f4cc2d5599d735fa7/images/styles/the_scream.jpg",
        "f3075cddeb974a9ee1d6418f7f33fd05185a7ac7dcb4288bd2805d499a9dcaee",
    ),
    "composition_vii": Masterpiece(
        "Wassily Kandinsky",
        "Composition VII",
        "1913",
        "jcjohnson/fast-neural-style/813c83441953ead2adb3f65f4cc2d5599d735fa7/images/styles/composition_vii.jpg",
        "8f992ed4aecd6dd56972d7bc8166761de7c94e670ee6effa8fd05f3daeb33409",
    ),
    "udnie": Masterpiece(
        "Francis Picabia",
        "Udnie",
        "1913",
        "jcjohnson/fast-neural-style/813c83441953ead2adb3f65f4cc2d5599d735fa7/images/styles/udnie.jpg",
        "c3d3d4b9e325b485820d1a91df3bad591c2bab86919412e9f1b424e862cf204a",
    ),
    "edtaonisl": Masterpiece(
        "Francis Picabia",
        "Edtaonisl (Ecclesiastic)",
        "1913",
        "gordicaleksa/pytorch-neural-style-transfer/a244dc61797f920a62146d98de92384352a4d3a2/data/style-images/edtaonisl.jpg",
        "6993247396a33b7297b4dc0f59e8114f223ac5a3ab604f251f9f5e25c592e44f",
    ),
    "shipwreck": Masterpiece(
        "J. M. W. Turner",
        "The Wreck of a Transport Ship",
        "c. 1810",
        "jcjohnson/neural-style/07c4b8299f8fbdafec0c514fc820ff1d7ff62e46/examples/inputs/shipwreck.jpg",
        "4f7cf34e3cd4a5daaf3f421f059ca9a01aaa2a3afd7243d6670c9c8bc001a213",
    ),
    "woman_with_hat": Masterpiece(
        "Henri Matisse",
        "Woman with a Hat",
        "1905",
        "jcjohnson/neural-style/07c4b8299f8fbdafec0c514fc820ff1d7ff62e46/examples/inputs/woman-with-hat-matisse.jpg",
        "6a8b2383d9c110354a97a42c74bdcc5341be879cbb842ddb7ab5843dbdf56d53",
    ),
    "grande_jatte": Masterpiece(
        "Georges Seurat",
        "A Sunday on La Grande Jatte",
        "1884-86",
        "sehugg/dithertron/12bba0a482a31eefc1614e33dd4cbcbef583966f/images/seurat.jpg",
        "7ba430bbafea8bc5a36febefb07034a3984d967fac53ff8f394601e99ce5c621",
    ),
    "adele_bloch_bauer": Masterpiece(
        "Gustav Klimt",
        "Portrait of Adele Bloch-Bauer I",
        "1907",
        "s0prmish/NeuralStyleTransfer/3313224ce28ddf4e82d0aa1fa34a7d14dc8c3522/images/klimt.jpg",
        "2e28ea0b373cf15f16828a2dfdafc50bf9cbd3a0a0ec8e697ad250d25730afbe",
    ),
    "tree_of_life": Masterpiece(
        "Gustav Klimt",
        "Tree of Life",
        "c. 1905-11",
        "ahernandez105/artml_project1/00dc7cf8e7a7e448023b0ef4ef999ff12b16e6f4/style_images/klimt.jpg",
        "7fd9a836f6a8592047efb72f1c23782feee88f647003fdc53c3042dcb4d773f3",
    ),
    "water_lilies": Masterpiece(
        "Claude Monet",
        "Water Lilies",
        "1919",
        "titu1994/Neural-Style-Transfer/d09334855211579ea1adb9ad04f09fc8a7573850/images/inputs/style/water-lilies-1919-2.jpg",
        "db4c4fe90c02be04d269f2f598357bb8cd4ea0541712a90d4913e91b1da689d7",
    ),
    "woman_with_parasol": Masterpiece(
        "Claude Monet",
        "Study of a Figure Outdoors: Woman with a Parasol",
        "1886",
        "albarji/neural-style-docker/acc490ba9d92b27796fe7c7f01561d03558dd9a6/tests/styles/monet.jpg",
        "194b8ddd74ced6e82b863b5993ce98355fdf99f568a94047a762b235eeb23154",
    ),
    "moulin_de_la_galette": Masterpiece(
        "Pierre-Auguste Renoir",
        "Bal du moulin de la Galette",
        "1876",
        "albarji/neural-style-docker/acc490ba9d92b27796fe7c7f01561d03558dd9a6/tests/styles/renoir.jpg",
        "7b8beb5bd708ca41ec99617be231a63e5ac1a41a2d55e2d9fd1c7defc69a7581",
    ),
    "jas_de_bouffan": Masterpiece(
        "Paul Cezanne",
        "Trees and Houses Near the Jas de Bouffan",
        "c. 1885-86",
        "sehugg/dithertron/12bba0a482a31eefc1614e33dd4cbcbef583966f/images/cezanne2.jpg",
        "7f2f18d744acab6b5e17a54a4d2976b59afb7e48537736af98f1a3a9cc67f7cc",
    ),
    "mondrian_composition": Masterpiece(
        "Piet Mondrian",
        "Cubist composition",
        "c. 1913",
        "naoto0804/pytorch-AdaIN/47950d0e6656a95a80a4b105c4c0f58d38ef785c/input/style/mondrian.jpg",
        "b3f228ad1dfa21ed368451a08af372640b2fc062597d47688fffbd06f3c82b0f",
    ),
    "metzinger_portrait": Masterpiece(
        "Robert Delaunay",
        "Portrait de Metzinger",
        "1906",
        "zhanghang1989/PyTorch-Multi-Style-Transfer/75d256049a6af7ceccae01bd5c472556478048ea/experiments/images/21styles/Robert_Delaunay,_1906,_Portrait.jpg",
        "fc89c275028b6a98e8e6896caf5df930eeda63d2314ddc60072d549f55fcc826",
    ),
    "cherry_screen": Masterpiece(
        "Sakai Hoitsu",
        "cherry tree folding screen",
        "early 19th century",
        "titu1994/Neural-Style-Transfer/d09334855211579ea1adb9ad04f09fc8a7573850/images/inputs/style/japanese_flower_sakai_hoitsu.jpg",
        "c74972929a147b261cd8397dbb7f0c0dd5c4470184fff63c2fcf54080b9630cf",
    ),
}


def sample_names() -> dict[str, list[str]]:
    """Names of all samples: photographs and paintings work offline, masterpieces are downloaded once."""
    return {
        "photographs": list(PHOTOGRAPHS),
        "paintings": list(PAINTINGS),
        "masterpieces": list(MASTERPIECES),
    }


@checked
def load_image(source: Source, size: Pixels | None = None) -> Tensor:
    """A picture as `(1, 3, H, W)` in [0, 1]: a sample's name, or anything `open_image` takes.

    Args:
        source: a file of that name comes before a sample. Transparency is flattened on white;
            `find_image` keeps it.
        size: long side in pixels, aspect kept; `None` for the picture's own size.

    Raises:
        ImageError: no such picture, or one that cannot be read or downloaded.
    """
    return to_tensor(resize_pil(find_image(source), size))


@checked
def find_image(source: Source) -> Image.Image:
    """Like `open_image`, and knows the samples' names; a PIL image in `RGB` or `RGBA`."""
    if not isinstance(source, str) or os.path.isfile(source):
        return open_image(source)
    if source in PHOTOGRAPHS:
        return open_image(PHOTOGRAPHS[source]())
    if source in PAINTINGS:
        return open_image(PAINTINGS[source])
    if source in MASTERPIECES:
        return open_image(fetch(source))
    return open_image(source)


def cache_folder() -> Path:
    """Where downloads are kept: `$NSTLIB_CACHE`, or the system's cache folder."""
    import pooch  # only here and in fetch: training runs on machines without it

    return Path(os.environ.get("NSTLIB_CACHE") or pooch.os_cache("nstlib"))


def stay_https(answer, **options) -> None:
    """For `requests`, a hook: a host that sends us on to plain http, or to a file, is not followed."""
    if urlsplit(answer.headers.get("Location", "")).scheme not in ("", "https"):
        answer.close()
        raise OSError(f"{answer.url} sends us on to an address without https")


def fetch(name: str) -> Path:
    """Download a masterpiece on first use, check its SHA-256, and return the cached file.

    Raises:
        ImageError: it cannot be had; says which samples need no download.
    """
    import pooch

    piece = MASTERPIECES[name]
    ending = Path(piece.address).suffix
    try:
        return Path(
            pooch.retrieve(
                HOST + piece.address,
                known_hash=f"sha256:{piece.sha256}",
                path=cache_folder(),
                fname=f"{name}{ending}",
                downloader=pooch.HTTPDownloader(timeout=30, progressbar=False, hooks={"response": stay_https}),
            )
        )
    except (OSError, ValueError) as error:  # no network, a broken connection, a wrong checksum
        raise ImageError(
            f"{name}: cannot be downloaded ({reason(error)}). Check the connection and try again; "
            f"without one these work: {' '.join([*PHOTOGRAPHS, *PAINTINGS])}."
        ) from error
