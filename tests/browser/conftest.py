"""An option for the browser tests."""


def pytest_addoption(parser):
    parser.addoption("--keep-pictures", action="store_true", help="store the desks' pictures that the notebooks show")
