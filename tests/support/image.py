"""
The image, built and run without an engine: by Debian's buildah, in a chroot.

No registry is reached. The base is a Debian made by debootstrap, which takes the place of the one that the Dockerfile
names. It runs as a container would: as process 1 of its own, on a root that cannot be written to, as the user that the
image names. The network is the machine's.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.process import ADDRESS, Running
from tests.support.tools import missing

ROOT = Path(__file__).parents[2]
SUITE = "bookworm"
BASE, TAG = "localhost/imagegate-base:test", "localhost/imagegate:test"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
UID = 10001
_UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--")
_CONTAINER = """\
set -e
mount --bind "$1" "$1"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
mount -t tmpfs -o mode=0750,uid=10001,gid=10001 tmpfs "$1/var/lib/imagegate"
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
mount --bind "$2" "$1/etc/imagegate"
mount -o remount,bind,ro "$1"
root=$1; shift 2
cd "$root"
exec chroot --userspec=10001:10001 "$root" "$@"
"""


@dataclass(frozen=True)
class Image:
    """What was built. `root`: its files, mounted nowhere yet."""

    store: Path
    root: Path
    config: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the image sets."""
        return dict(one.split("=", 1) for one in self.config["Env"])

    def inside(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command on its files, as its user."""
        return subprocess.run(
            ["chroot", f"--userspec={UID}:{UID}", str(self.root), *command],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @contextmanager
    def running(self, folder: Path, settings: str, env: Mapping[str, str]) -> Iterator[Running]:
        """
        A container of it, until the block ends; it has listened by then.

        Args:
            folder: for its configuration, which it may only read, and its log.
            settings: the configuration.
            env: variables besides the image's.
        """
        mounted = folder / "etc"
        mounted.mkdir()
        (mounted / "imagegate.toml").write_text(settings)
        command = [*self.config["Entrypoint"], *self.config["Cmd"]]
        log = folder / "container.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [*_UNSHARE, "sh", "-c", _CONTAINER, "sh", str(self.root), str(mounted), *command],
                env={**self.environment, **env},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert "listens" in said, log.read_text()
            yield Running(process, ADDRESS.findall(said), log)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


def build(folder: Path) -> Image:
    """Build it from this checkout, everything in this folder."""
    for program in ("buildah", "debootstrap", "unshare"):
        if shutil.which(program) is None:
            missing(program, f"apt-get install {program} (the image is built and run with it)")
    if os.geteuid() != 0:
        missing("root", "the image is built in a chroot, which only root can make")
    rootfs = folder / "base" / "rootfs"
    include = "--include=python3,python3-venv,ca-certificates"
    _run("debootstrap", "--variant=minbase", include, SUITE, str(rootfs))
    # A machine that reaches its packages by way of a proxy trusts that one, too.
    shutil.copy(CERTIFICATES, rootfs / CERTIFICATES.relative_to("/"))
    (folder / "base" / "Dockerfile").write_text("FROM scratch\nCOPY rootfs/ /\n")
    store = folder / "store"
    buildah = ("buildah", "--root", str(store), "--runroot", str(folder / "run"), "--storage-driver", "vfs")
    plain = ("build", "--quiet", "--isolation", "chroot", "--format", "docker")
    _run(*buildah, *plain, "--tag", BASE, str(folder / "base"))
    name, _, tag = BASE.rpartition(":")
    arguments = ("--build-arg", f"BASE_IMAGE={name}", "--build-arg", f"BASE_TAG={tag}")
    _run(*buildah, *plain, *arguments, "--tag", TAG, str(ROOT))
    shutil.rmtree(folder / "base")
    described = json.loads(_run(*buildah, "inspect", "--type", "image", TAG))
    container = _run(*buildah, "from", TAG).strip()
    root = Path(_run(*buildah, "mount", container).strip())
    return Image(store, root, described["Docker"]["config"])


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
