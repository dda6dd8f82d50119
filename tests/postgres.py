"""A PostgreSQL server of a test's own, on loopback, as a user that is not root."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

BINARIES = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/bin"), Path("/usr/local/bin")]
FOLDER = next((path for path in BINARIES if (path / "initdb").exists() and (path / "pg_ctl").exists()), None)


def missing():
    """Returns why there can be no server here, empty where there can."""
    if FOLDER is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if os.getuid() == 0 and (shutil.which("setpriv") is None or _user() is None):
        return "PostgreSQL refuses root, and there is no other user to run it as"
    return ""


def _user():
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


class Server:
    """Runs while the block does; may be stopped and started meanwhile."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="pg")
        self.data = Path(self._folder.name) / "data"
        if os.getuid() == 0:
            os.chown(self._folder.name, _user().pw_uid, _user().pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._call("initdb", "-D", self.data, "-U", "sweeper", "-A", "trust", "-N")
        self.start()
        self._call("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "sweeper", "sweeps")
        return self

    def __exit__(self, *_):
        self.stop()
        self._folder.cleanup()

    @property
    def url(self):
        return f"postgresql+psycopg://sweeper@127.0.0.1:{self.port}/sweeps"

    def start(self):
        options = f"-h 127.0.0.1 -p {self.port} -k {self._folder.name} -c fsync=off"
        self._call("pg_ctl", "-D", self.data, "-w", "-l", f"{self._folder.name}/log", "-o", options, "start")

    def stop(self):
        self._call("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")

    def _call(self, name, *arguments):
        before = []
        if os.getuid() == 0:
            user = _user()
            before = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        program = FOLDER / name if (FOLDER / name).exists() else shutil.which(name)
        subprocess.run(
            [*before, str(program), *map(str, arguments)],
            check=True,
            cwd=self._folder.name,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
