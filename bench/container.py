"""The steps of deploy/container/Containerfile, one by one, in folders instead of images, then `up` in the result.

    python bench/container.py BASE [--work DIR] [--keep]

For a machine without a container engine. ``BASE`` is a folder with the files of the base image, for example of
`debootstrap --variant=minbase bookworm BASE` with a Python of the wanted version below BASE/usr/local. Each stage is a
copy of it; RUN is executed in it by chroot, as the user of USER; HEALTHCHECK and the start are tried at the end. It
needs root, and changes nothing outside ``--work``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import machine, postgres

PROJECT = Path(__file__).parents[1]
CONTAINERFILE = PROJECT / "deploy/container/Containerfile"
MOUNTS = (("proc", "proc", "proc"), ("tmpfs", "tmpfs", "dev/shm"), ("tmpfs", "tmpfs", "tmp"))
DEVICES = ("null", "zero", "random", "urandom", "full", "tty")


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Containerfile with their arguments, without comments, lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word, rest.strip()) for line in joined.splitlines() if line.strip() for word, _, rest in [line.partition(" ")]
    ]


class Stage:
    """One stage: a copy of the base, its environment, user and folder."""

    def __init__(self, base: Path | None, root: Path) -> None:
        if base is not None:
            subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(root)], check=True)
        self.root = root
        self.environment = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        self.user, self.folder = "0:0", "/"
        self.entrypoint: list[str] = []
        self.command: list[str] = []
        self.health: list[str] = []

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """What an engine mounts: /proc, /tmp, /dev with its devices and a large /dev/shm, names of hosts."""
        made = []
        for name in DEVICES:
            if not (self.root / "dev" / name).exists():
                (self.root / "dev" / name).touch()
            subprocess.run(["mount", "--bind", f"/dev/{name}", str(self.root / "dev" / name)], check=True)
            made.append(self.root / "dev" / name)
        for kind, source, where in MOUNTS:
            (self.root / where).mkdir(exist_ok=True)
            options = ["-o", "size=1g,mode=1777"] if kind == "tmpfs" else []
            subprocess.run(["mount", "-t", kind, *options, source, str(self.root / where)], check=True)
            made.append(self.root / where)
        if os.access(self.root / "etc", os.W_OK):
            shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        try:
            yield
        finally:
            for place in reversed(made):
                subprocess.run(["umount", "--lazy", str(place)], check=False)

    def chroot(self, *command: str) -> list[str]:
        """The command line of ``command`` in the stage, as its user, who gains no rights."""
        inside = ["env", "-i", "-C", self.folder, *(f"{name}={value}" for name, value in self.environment.items())]
        dropped = [] if self.user == "0:0" else ["setpriv", "--no-new-privs"]
        return ["chroot", f"--userspec={self.user}", str(self.root), *dropped, *inside, *command]


def build(base: Path, work: Path, *, built: bool = False) -> Stage:
    """Every stage; the last one is the image. ``built``: the files are there, only what is declared is read."""
    stages: dict[str, Stage] = {}
    current: Stage | None = None
    for word, rest in instructions(CONTAINERFILE.read_text()):
        print(f"[{time.strftime('%H:%M:%S')}] {word} {rest[:100]}", flush=True)
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "image"
            current = stages[name] = Stage(None if built else base, work / name)
            continue
        assert current is not None
        if not (built and word in ("RUN", "COPY")):
            step(current, word, rest, stages)
    assert current is not None
    return current


def step(stage: Stage, word: str, rest: str, stages: dict[str, Stage]) -> None:
    """One instruction."""
    match word:
        case "RUN":
            with stage.mounted():
                subprocess.run(stage.chroot("sh", "-ec", rest), check=True)
        case "COPY":
            copy(stage, rest, stages)
        case "WORKDIR":
            stage.folder = rest
            (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        case "ENV":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                stage.environment[name] = value.replace("$PATH", stage.environment["PATH"])
        case "USER":
            stage.user = rest
            stage.environment["HOME"] = stage.folder
        case "ENTRYPOINT":
            stage.entrypoint = json.loads(rest)
        case "CMD":
            stage.command = json.loads(rest)
        case "HEALTHCHECK":
            stage.health = json.loads(rest[rest.index("[") :])
        case "VOLUME" | "EXPOSE" | "STOPSIGNAL":
            pass
        case _:
            raise SystemExit(f"unknown instruction {word}")


def copy(stage: Stage, rest: str, stages: dict[str, Stage]) -> None:
    """COPY from the checkout, or from another stage."""
    sources = rest.split()
    origin = PROJECT
    if sources[0].startswith("--from="):
        origin = stages[sources.pop(0).removeprefix("--from=")].root
    *sources, target = sources
    into = stage.root / (target if target.startswith("/") else f"{stage.folder}/{target}").lstrip("/")
    for source in sources:
        place = origin / source.lstrip("/")
        if place.is_dir():
            shutil.copytree(place, into, symlinks=True, dirs_exist_ok=True)
        else:
            into.mkdir(parents=True, exist_ok=True)
            shutil.copy(place, into / place.name)


def try_out(stage: Stage, options: list[str]) -> None:
    """Doctor, then the start of the image until its health check passes and an hour can be read; then SIGTERM."""
    with stage.mounted():
        subprocess.run(stage.chroot("crypto-pipeline", "doctor", "--offline"), check=False)
        began = time.monotonic()
        up = subprocess.Popen(stage.chroot(*stage.entrypoint, *stage.command, *options))
        try:
            await_(stage, stage.health, up)
            print(f"healthy after {time.monotonic() - began:.0f} s", flush=True)
            await_(stage, ["sh", "-c", "crypto-pipeline read BTC-USDT 1h --last 3 | grep BTC-USDT"], up)
            print(f"bars to read after {time.monotonic() - began:.0f} s", flush=True)
            subprocess.run(stage.chroot("crypto-pipeline", "status"), check=False)
        finally:
            began = time.monotonic()
            up.send_signal(signal.SIGTERM)  # chroot, setpriv and env have become tini
            print(f"SIGTERM: ended with {up.wait(120)} after {time.monotonic() - began:.1f} s", flush=True)


def await_(stage: Stage, command: list[str], up: subprocess.Popen[bytes]) -> None:
    """Until the command says yes in the stage."""
    began = time.monotonic()
    while subprocess.run(stage.chroot(*command), capture_output=True, check=False).returncode:
        assert up.poll() is None, f"it ended with {up.returncode}"
        assert time.monotonic() - began < 600, f"not after ten minutes: {command}"
        time.sleep(2)


@contextmanager
def read_only(stage: Stage) -> Iterator[None]:
    """The root as compose mounts it: only the volume can be written."""
    volume = stage.root / "var/lib/crypto_pipeline"
    for place in (stage.root, volume):
        subprocess.run(["mount", "--bind", str(place), str(place)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(stage.root)], check=True)
    try:
        yield
    finally:
        for place in (volume, stage.root):
            subprocess.run(["umount", "--lazy", str(place)], check=False)


def main() -> None:
    """Build and try."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--built", action="store_true", help="the stages are in --work already")
    parser.add_argument("--composed", action="store_true", help="try only as compose starts it")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the stages")
    parser.add_argument("--ports", nargs=3, default=["3000", "8765", "8790"], help="UI, replay exchange, HTTP")
    given = parser.parse_args()
    print(machine())
    work = given.work or Path(tempfile.mkdtemp(prefix="cp-container-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        image = build(given.base, work, built=given.built)
        ui, replay, api = given.ports
        image.health = [part.replace("8790", api) for part in image.health]
        ports = ["--ui-port", ui, "--replay-port", replay, "--api-port", api]
        options = [*ports, "--instruments", "BTC-USDT,ETH-USDT", "--days", "2"]
        print("== the image alone, with the embedded PostgreSQL", flush=True)
        if not given.composed:
            try_out(image, options)
        print("== as compose starts it: beside a PostgreSQL, on a read-only root", flush=True)
        shutil.rmtree(image.root / "var/lib/crypto_pipeline/data", ignore_errors=True)
        with postgres() as server, read_only(image):
            image.environment["CRYPTO_PIPELINE_DATABASE_URL"] = server.url("composed")
            try_out(image, options)
    finally:
        if not given.keep:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
