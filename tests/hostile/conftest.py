"""What all hostile tests share: they say what was survived and how often, and the table is printed at the end."""

import pytest

ROWS: dict[tuple[str, str], int] = {}


@pytest.fixture
def survived():
    """`survived("pictures", "cut short at a random byte", 50)` adds a line, or to its count."""

    def record(area: str, what: str, count: int) -> None:
        ROWS[area, what] = ROWS.get((area, what), 0) + count

    return record


@pytest.fixture
def times(request) -> int:
    """How much longer than usual the run was asked to be, with `--longer 10`."""
    return request.config.getoption("--longer")


def pytest_addoption(parser):
    parser.addoption("--longer", type=int, default=1, help="multiply the number of random trials")


def pytest_terminal_summary(terminalreporter):
    if ROWS:
        terminalreporter.write_line("\n| what comes | how often | area |\n|---|---|---|")
        for (area, what), count in sorted(ROWS.items()):
            terminalreporter.write_line(f"| {what} | {count:,} | {area} |")
