"""The checks of this project, for people and for machines alike: `nox` runs them all, `nox -s NAME` one.

The oldest and the newest interpreter of pyproject.toml run the tests, `nox -s tests` also those in between. One that
does not exist here is skipped, and nox says so. `nox -s tests-3.12 -- -k relay` hands words to pytest. Campaigns and
measurements take minutes or hours and run by name only: `nox --list` shows them with a dash.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import nox
from nox.command import CommandFailed
from packaging.requirements import Requirement

nox.needs_version = ">=2025.5.1"
nox.options.error_on_missing_interpreters = False  # also on machines that set CI

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
OLDEST, *BETWEEN, NEWEST = PYTHONS

nox.options.sessions = [
    f"tests-{OLDEST}",
    f"tests-{NEWEST}",  # what passes on both passes in between: `nox -s tests` shows that
    "lowest",
    "web",
    "lint",
    "typecheck",
    "docs",
    "build",
]  # layering is among the tests

RIVAL = "p2p-copy[security]==0.1.2"
"""What we measure ourselves against: the last release before this one."""

WORMHOLE = ("magic-wormhole", "magic-wormhole-mailbox-server", "magic-wormhole-transit-relay")
"""What people use instead, and its two servers."""

PIPING = "piping-server"
"""What passes a file on and does nothing else; it comes from npm."""

SPHINX = ("-W", "--keep-going", "-q", "-E")
"""The whole documentation anew; a warning is an error, also one about a link within it that leads nowhere."""

PYTEST = ("python", "-m", "pytest", "-n", "4", "--dist", "worksteal")
"""Four workers, on two processors, too: much of what the tests wait for is a socket, a process or a clock."""

COMPILED_ONCE = {"PYTHONDONTWRITEBYTECODE": ""}
"""The tests start a thousand processes of our programs; each would compile them anew if Python may not keep that."""

WITHOUT_PAGE = {"P2P_COPY_WEB": "no"}
"""For installing what does not serve the page for browsers: its build takes longer than all the rest."""

ONCE = ("tests/contrib", "tests/test_documents.py", "tests/relay/test_garbage.py")
NOT_AGAIN = (
    *(f"--ignore={path}" for path in ONCE),
    *("-m", "not once and not slow"),
    "--hypothesis-profile=few",
)
"""Not what is the same whatever the version of Python, systemd, proxies and shells among it, nor what takes long."""

NO_AUTHORITY = ("--ignore=tests/acme",)
"""What depends on the versions of certbot's libraries, and not on Python's."""

PROGRAMS = (
    "tests/test_processes.py",
    "tests/test_pipes.py",
    "tests/api/test_examples.py",
    *(f"tests/cli/test_{name}.py" for name in ("again", "completion", "json", "on_a_terminal", "proxies")),
    *(f"tests/cli/test_{name}.py" for name in ("embedded_relay", "several_relays")),
    "tests/cli/commands",
    *(f"tests/cli/ui/test_{name}.py" for name in ("prompt", "sharing", "stuck_output")),
    "tests/platforms",
    "tests/relay/workers",
    "tests/relay/test_acme.py",
)
NO_PROGRAMS = tuple(f"--ignore={path}" for path in PROGRAMS)
"""Whole programs take their time: they run on the oldest Python, with the newest of what we need."""

NO_FILES = ("--ignore=tests/files",)
"""Nothing there depends on a library's version, and no Python in between does what the oldest and newest do not."""


def group(*names: str) -> tuple[str, ...]:
    """Return the requirements of dependency groups; older versions of pip cannot read them."""
    return nox.project.dependency_groups(PYPROJECT, *names)


def lowest(requirements: list[str]) -> list[str]:
    """Return the requirements with each lower bound as the one version allowed."""
    pinned = []
    for requirement in map(Requirement, requirements):
        (bound,) = (part.version for part in requirement.specifier if part.operator == ">=")
        marker = f"; {requirement.marker}" if requirement.marker else ""
        pinned.append(f"{requirement.name}=={bound}{marker}")
    return pinned


def let_pyenv_run_them_all() -> None:
    """Where pyenv manages the interpreters: its commands exist for every version, but run only for those named."""
    if pyenv := shutil.which("pyenv"):
        known = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True, check=False)
        wanted = [name for name in known.stdout.split() if name.rpartition(".")[0] in PYTHONS]
        if wanted:
            os.environ.setdefault("PYENV_VERSION", ":".join(wanted))


let_pyenv_run_them_all()


def python27() -> str | None:
    """Return an interpreter of Python 2.7 that runs, None if there is none. Those of pyenv need not be its choice."""
    found = [shutil.which("python2.7")]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True).stdout.strip()
        found += map(str, sorted(Path(root, "versions").glob("2.7.*/bin/python2.7")))
    for python in found:
        if python and subprocess.run([python, "--version"], capture_output=True, check=False).returncode == 0:
            return python
    return None


NO_PAGE = ("--ignore=tests/web",)
"""The page for browsers has a session of its own, which installs Playwright and builds the page."""

_NPM = (
    "npm",
    "--prefix",
    "p2p_copy/web",
    "--no-audit",
    "--no-fund",
    "--fetch-retries=1",
    "--fetch-timeout=20000",
)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests on the oldest Python, and on the others what may differ; with the newest versions of what we need."""
    session.install("-e", ".", *group("test"), env=WITHOUT_PAGE)
    less = () if session.python == OLDEST else (*NOT_AGAIN, *NO_AUTHORITY, *NO_PROGRAMS)
    if session.python in BETWEEN:
        less = (*less, *NO_FILES)
    session.run(*PYTEST, *NO_PAGE, *less, *session.posargs, env=COMPILED_ONCE)


@nox.session(name="lowest", python=OLDEST)
def lowest_versions(session: nox.Session) -> None:
    """What may differ with the lowest versions that pyproject.toml declares, on the oldest Python."""
    project = PYPROJECT["project"]
    extras = itertools.chain(*project["optional-dependencies"].values())
    pinned = lowest([*project["dependencies"], *extras])
    session.install("-e", ".", *pinned, *group("test"), env=WITHOUT_PAGE)
    session.run(*PYTEST, *NO_PAGE, *NOT_AGAIN, *NO_PROGRAMS, *NO_FILES, *session.posargs, env=COMPILED_ONCE)


@nox.session(python=OLDEST)
def web(session: nox.Session) -> None:
    """The page for browsers, built with npm, in Node and in the browsers that are installed; without them it skips."""
    session.install("-e", ".", *group("test", "browser"))
    build_page(session)
    # Each test waits much of its time, for a start or for another try: more of them at once than there are processors.
    words = ("-n", "4", "--dist", "loadgroup", "-rs", "tests/web")
    session.run("python", "-m", "pytest", *words, *session.posargs, env=COMPILED_ONCE)


def build_page(session: nox.Session) -> None:
    """Build the page for browsers, if npm is here and can have what builds it."""
    if shutil.which("npm") is None:
        session.warn("npm is not installed: the page is not built")
        return
    try:
        session.run(*_NPM, "ci", "--ignore-scripts", external=True)
    except CommandFailed:
        session.warn(
            "npm cannot install what builds the page: the internet or npm's registry may be out of reach"
        )
        return
    session.run(*_NPM, "run", "build", external=True)


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """Style, and the mistakes that a linter finds."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=OLDEST)
def typecheck(session: nox.Session) -> None:
    """Types, strictly: of all files for Linux, of those that also run elsewhere for macOS and Windows."""
    session.install("-e", ".", *group("typing"), env=WITHOUT_PAGE)
    session.run("mypy")
    for platform in ("darwin", "win32"):
        session.run("mypy", "--platform", platform, "p2p_copy", "docs/examples")


@nox.session(python=OLDEST)
def layering(session: nox.Session) -> None:
    """Who may import whom, and who may touch paths, print or know keys. Part of the tests; alone it takes seconds."""
    session.install("-e", ".", *group("test"))
    session.run("python", "-m", "pytest", "tests/test_layering.py")


@nox.session(python=OLDEST)
def docs(session: nox.Session) -> None:
    """The documentation as HTML in docs/_build; any warning is an error."""
    session.install(*group("docs"))
    session.run("sphinx-build", *SPHINX, "-b", "html", "docs", "docs/_build")


@nox.session(name="links-out", python=OLDEST)
def links_out(session: nox.Session) -> None:
    """Whether the pages of others to which the documentation links are still there; that needs the internet."""
    session.install(*group("docs"))
    session.run("sphinx-build", *SPHINX, "-b", "linkcheck", "docs", "docs/_build/linkcheck")


@nox.session(python=OLDEST)
def figures(session: nox.Session) -> None:
    """Draw the pictures in docs/figures and docs/screens again. `-- screens` draws only those."""
    session.install("-e", ".", *group("figures"))
    session.run("python", "-m", "docs.figures", *session.posargs)


_HAS_PAGE = "from p2p_copy.cli.options.relay_web import RelayWeb; RelayWeb(web=True).folder()"


@nox.session(python=OLDEST)
def build(session: nox.Session) -> None:
    """The sdist, the wheel from it, and the wheel at work in a clean environment, far from the sources."""
    session.install(*group("build"))
    elsewhere = Path(session.create_tmp()).resolve()
    shutil.rmtree(elsewhere, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(elsewhere / "dist"))
    (wheel,) = (elsewhere / "dist").glob("*.whl")
    # Without npm, or the internet for it, the package has no page: a release is built with P2P_COPY_WEB=require.
    has_page = "p2p_copy/web/static/manifest.json" in zipfile.ZipFile(wheel).namelist()
    session.run("twine", "check", "--strict", *map(str, (elsewhere / "dist").iterdir()))
    session.run("python", "-m", "venv", str(elsewhere / "venv"))
    programs = elsewhere / "venv" / ("Scripts" if os.name == "nt" else "bin")
    with session.chdir(elsewhere):
        session.run(str(programs / "python"), "-m", "pip", "install", "-q", str(wheel), external=True)
        session.run(str(programs / "p2p-copy"), "--version", external=True)
        session.run(str(programs / "p2p-copy"), "demo", external=True)
        if has_page:
            session.run(str(programs / "python"), "-c", _HAS_PAGE, external=True)


@nox.session(python=OLDEST)
def zipapp(session: nox.Session) -> None:
    """p2p-copy.pyz, one file for this platform and this Python, at work where Python finds nothing else."""
    session.install(*group("zipapp"))
    elsewhere = Path(session.create_tmp()).resolve()
    shutil.rmtree(elsewhere, ignore_errors=True)
    made = Path("p2p-copy.pyz").resolve()
    # -E: the demo starts programs of its own, which must find the unpacked modules, too.
    words = ("-q", "-c", "p2p-copy", "-E", "--compressed", "--reproducible", "-p", "/usr/bin/env python3")
    session.run("shiv", *words, "-o", str(made), ".")
    alone = (
        "python",
        "-I",
        "-S",
        str(made),
    )  # without the packages of the session, of the user and of the system
    for command in ("--version", "demo"):
        session.run(*alone, command, env={"SHIV_ROOT": str(elsewhere)})


@nox.session(python=OLDEST)
def autobahn(session: nox.Session) -> None:
    """Autobahn's test suite against our WebSocket. It wants Python 2.7 and a C compiler, so it is run by name only."""
    python = python27()
    if python is None:
        session.skip("Autobahn's test suite wants Python 2.7, and there is none here")
    session.install("-e", ".", *group("test"), "virtualenv<20.22")  # the last that can make one for 2.7
    elsewhere = Path(session.create_tmp()).resolve()
    programs = elsewhere / "python2.7" / "bin"
    session.run("virtualenv", "-q", "-p", python, str(programs.parent))
    pins = ("-r", "tests/autobahn/requirements.txt")
    session.run(str(programs / "pip"), "install", "-q", "--no-python-version-warning", *pins, external=True)
    session.run("python", "-m", "tests.autobahn.gate", str(programs / "wstest"), str(elsewhere / "reports"))


@nox.session(python=OLDEST)
def faults(session: nox.Session) -> None:
    """Attacks and accidents at a relay that carries a transfer all the while; a quarter of an hour, some need root.

    A table at the end has what each did to the relay and to an honest pair. `P2P_COPY_FAULTS_RELAY=PYTHON` measures the
    relay of another version, installed in that interpreter's environment; what it does not withstand fails.
    """
    session.install("-e", ".", *group("test"))
    words = ("-o", "python_files=fault_*.py", "-o", "faulthandler_timeout=300", "-rs")
    session.run("python", "-m", "pytest", *words, "tests/faults", *session.posargs)


@nox.session(python=OLDEST)
def waiting(session: nox.Session) -> None:
    """What waiting clients and pairings cost our relay and that of 0.1.2; minutes. `-- --waiters 100` tries it."""
    session.install("-e", ".", *group("test"))
    rival = installed(session, "rival", RIVAL) / "p2p-copy"
    session.run("python", "-m", "tests.bench.waiting", "--rival", str(rival), *session.posargs)


@nox.session(python=OLDEST)
def bench(session: nox.Session) -> None:
    """How fast we are beside 0.1.2, magic-wormhole, scp and rsync; minutes. `-- --rounds 1 --scale 0.05` tries it."""
    session.install("-e", ".", *group("test"))
    wormhole = installed(session, "wormhole", *WORMHOLE) / "wormhole"
    others = ["--wormhole", str(wormhole)] if wormhole.exists() else []
    piping = Path(session.create_tmp()).resolve() / "npm"
    if shutil.which("npm"):
        words = ("npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(piping), PIPING)
        session.run(*words, external=True, success_codes=[0, 1])
    if (server := piping / "node_modules" / ".bin" / PIPING).exists():
        others += ["--piping", str(server)]
    session.run("python", "-m", "tests.bench.speed", *measured(session), *others, *session.posargs)


@nox.session(python=OLDEST)
def growth(session: nox.Session) -> None:
    """Many pairings and messages, compression, slow and long links; some needs root. `-- --scale 0.05` tries it."""
    session.install("-e", ".", *group("test"))
    session.run("python", "-m", "tests.bench.growth", *measured(session), *session.posargs)


@nox.session(python=OLDEST)
def links(session: nox.Session) -> None:
    """One transfer over several links, on a long way and on loopback; that needs root. `-- --scale 0.1` tries it."""
    session.install("-e", ".", *group("test"))
    ours = installed(session, "ours", ".") / "p2p-copy"
    session.run("python", "-m", "tests.bench.links", "--ours", str(ours), *session.posargs)


def measured(session: nox.Session) -> tuple[str, ...]:
    """Return the options that name us, installed as users have us, and the rival."""
    ours, rival = (
        installed(session, name, what) / "p2p-copy" for name, what in (("ours", "."), ("rival", RIVAL))
    )
    return ("--ours", str(ours), *(("--rival", str(rival)) if rival.exists() else ()))


def installed(session: nox.Session, name: str, *requirements: str) -> Path:
    """Install programs into a fresh environment of their own; return where they are, if pip could have them."""
    home = Path(session.create_tmp()).resolve() / name
    session.run("python", "-m", "venv", "--clear", str(home))
    pip = (str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check")
    session.run(*pip, *requirements, external=True, success_codes=[0, 1])
    return home / "bin"


@nox.session(python=OLDEST)
def machine(session: nox.Session) -> None:
    """Transfers with an adversary for a relay, thousands of others each time; P2P_COPY_MACHINE=100 tries a hundred."""
    session.install("-e", ".", *group("test"))
    many = {"P2P_COPY_MACHINE": os.environ.get("P2P_COPY_MACHINE", "2000")}
    words = ("-n", "2", "-o", "timeout=0", "-o", "faulthandler_timeout=0", "tests/stateful")
    session.run("python", "-m", "pytest", *words, *session.posargs, env=many)


@nox.session(python=OLDEST)
def soak(session: nox.Session) -> None:
    """Relays under an hour of visitors and attacks: nothing grows, the log stays short. `-- --minutes 5 --seed 2`."""
    session.install("-e", ".", *group("test"))
    session.run("python", "-m", "tests.campaigns.soak", *session.posargs)


@nox.session(python=OLDEST)
def chaos(session: nox.Session) -> None:
    """Transfers that meet 200 accidents: kills, cuts, moves; two hours, some need root. `-- --kills 9 --size 500M`.

    `-- --resume --many` measures instead how soon a large file goes on and how much memory a million files take.
    """
    session.install("-e", ".", *group("test"))
    session.run("python", "-m", "tests.campaigns.chaos", *session.posargs)


@nox.session(python=OLDEST)
def trees(session: nox.Session) -> None:
    """Random trees, options, accidents: what arrives is what docs say; 20 minutes. `-- --transfers 100 --seed 2`."""
    session.install("-e", ".", *group("test"))
    session.run("python", "-m", "tests.campaigns.trees", *session.posargs)


@nox.session(python=OLDEST)
def acme(session: nox.Session) -> None:
    """A relay that renews certificates of 20 seconds for an hour, with transfers. `-- --minutes 5 --workers 2`."""
    session.install("-e", ".", *group("test"))
    session.run("python", "-m", "tests.campaigns.acme", *session.posargs)


@nox.session(python=OLDEST)
def balancers(session: nox.Session) -> None:
    """Relays that come and go behind nginx and HAProxy, which must be installed; a quarter of an hour."""
    session.install("-e", ".", *group("test"))
    session.run("python", "-m", "tests.campaigns.balancers", *session.posargs)


@nox.session(name="web-big", python=OLDEST)
def web_big(session: nox.Session) -> None:
    """Files of 1 and 4 GiB through the page in Chromium and Firefox; minutes, 12 GiB of disk. `-- --size 100M`."""
    session.install("-e", ".", *group("test", "browser"))
    build_page(session)
    session.run("python", "-m", "tests.campaigns.web", *session.posargs)
