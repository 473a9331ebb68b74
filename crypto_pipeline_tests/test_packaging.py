"""What is installed: wheel and sdist hold everything that the package reads, and the container files fit it."""

from __future__ import annotations

import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import crypto_pipeline
from crypto_pipeline.settings import PREFIX, Settings
from crypto_pipeline_tests.builders.places import PROJECT

CONTAINER = PROJECT / "deploy/container"
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())
#: Read by the program itself, beside the settings.
_OTHER_NAMES = {"CONFIG", "DEBUG", "DETACHED_CHILD"}


def built(builder: type[WheelBuilder] | type[SdistBuilder], source: Path, folder: Path) -> Path:
    """The file that the builder makes of a checkout."""
    [made] = builder(str(source)).build(directory=str(folder), versions=["standard"])
    return Path(made)


def contents(wheel: Path) -> dict[str, bytes]:
    """Files of a wheel by their path; without RECORD, which only lists them."""
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist() if not name.endswith("/RECORD")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return contents(built(WheelBuilder, PROJECT, tmp_path_factory.mktemp("wheel")))


def test_the_wheel_has_every_file_of_the_package_and_the_schema(wheel: dict[str, bytes]) -> None:
    package = PROJECT / "crypto_pipeline"
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    expected = {path.relative_to(PROJECT).as_posix(): path for path in files}
    expected |= {f"crypto_pipeline/sql/{path.name}": path for path in (PROJECT / "sql").iterdir()}
    expected["crypto_pipeline/ops/dagster.yaml"] = PROJECT / "dagster.yaml"
    expected["crypto_pipeline/ops/dagster_celery.yaml"] = PROJECT / "deploy/celery/dagster.yaml"
    of_package = {name for name in wheel if not name.partition("/")[0].endswith(".dist-info")}
    assert of_package == set(expected)
    assert all(wheel[name] == path.read_bytes() for name, path in expected.items())
    assert "crypto_pipeline/py.typed" in wheel


def test_the_wheel_of_the_sdist_is_the_same(wheel: dict[str, bytes], tmp_path: Path) -> None:
    packed = built(SdistBuilder, PROJECT, tmp_path)
    with tarfile.open(packed) as opened:
        names = opened.getnames()
        opened.extractall(tmp_path / "unpacked", filter="data")
    [folder] = (tmp_path / "unpacked").iterdir()
    assert contents(built(WheelBuilder, folder, tmp_path)) == wheel
    # who has only the sdist may run the tests and read the documentation
    inside = {name.split("/")[1] for name in names if "/" in name}
    assert {"crypto_pipeline_tests", "docs", "examples", "bench", "deploy", "CHANGELOG.md", "LICENSE"} <= inside


def test_there_is_one_version() -> None:
    version = DECLARED["project"]["version"]
    assert crypto_pipeline.__version__ == version
    headings = re.findall(r"^## \[([^\]]+)\]", (PROJECT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "Unreleased" or headings[0] == version
    texts = [path.read_text() for path in (PROJECT / "crypto_pipeline").rglob("*.py")]
    assert not any(f'"{version}"' in text for text in texts), "it stands in pyproject.toml alone"


def test_the_image_is_built_from_what_the_wheel_needs_and_from_extras_that_exist() -> None:
    text = (CONTAINER / "Containerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M) for word in line.split()}
    needed = {*DECLARED["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"], "pyproject.toml"}
    needed |= {"crypto_pipeline", DECLARED["project"]["readme"], *DECLARED["project"]["license-files"]}
    assert copied == needed | {".gitignore"}
    [extras] = re.findall(r"\.whl\)\[([\w,]+)\]", text)
    assert set(extras.split(",")) <= set(DECLARED["project"]["optional-dependencies"])
    [python] = set(re.findall(r"^FROM python:([\d.]+)-", text, re.M))
    assert f"Programming Language :: Python :: {python}" in DECLARED["project"]["classifiers"]


def test_compose_is_open_to_this_machine_alone_and_holds_no_password() -> None:
    services = yaml.safe_load((CONTAINER / "compose.yaml").read_text())["services"]
    ports = [port for one in services.values() for port in one.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert "ports" not in services["database"]
    passwords = re.findall(r"(?:PASSWORD: |://\w+:)(\S+?)(?:@|$)", (CONTAINER / "compose.yaml").read_text(), re.M)
    assert passwords
    assert all(one.startswith("${POSTGRES_PASSWORD") or one == '""' for one in passwords)
    assert services["pipeline"]["depends_on"]["database"]["condition"] == "service_healthy"


@pytest.mark.parametrize("file", [*(path.name for path in sorted(CONTAINER.iterdir())), "../crypto-pipeline.service"])
def test_every_setting_that_a_deployment_file_names_exists(file: str) -> None:
    named = set(re.findall(rf"{PREFIX}([A-Z_]+)", (CONTAINER / file).read_text()))
    assert named <= {name.upper() for name in Settings.model_fields} | _OTHER_NAMES
