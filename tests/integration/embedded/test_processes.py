from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from recsys.embedded.home import Home
from recsys.embedded.processes import Command, NotReadyError, Service, is_alive
from recsys.errors import ServiceUnavailableError

# Listens on its port, and has a child that sleeps in the same session.
_SERVER = """
import signal, socket, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_DFL)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
while True:
    server.accept()[0].close()
"""


class Toy(Service):
    """A server of a few lines, so that tests can break it in many ways."""

    name = "toy"
    port_names = ("toy",)
    start_seconds = 20
    source = _SERVER

    def prepare(self) -> None:
        """Needs nothing."""

    def command(self) -> Command:
        return Command(
            [sys.executable, "-c", self.source, str(self.port)],
            {"PATH": os.environ["PATH"], "SECRET": self.home.secrets().s3_secret_key},
            self.folder,
        )

    def check(self) -> None:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError as error:
            raise NotReadyError(str(error)) from error

    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return self.home.ports(self.port_names)["toy"]


class ImpatientToy(Toy):
    start_seconds = 1


class HastyToy(Toy):
    stop_signals = ((signal.SIGTERM, 0.2),)


def test_a_server_is_started_once_and_stopped_with_its_children(home: Home) -> None:
    toy = Toy(home)
    assert toy.status().running is False
    assert toy.start() is True
    leader = toy.leader()
    assert toy.start() is False
    assert toy.leader() == leader
    assert toy.status().running
    members = toy.members()
    assert len(members) == 2
    toy.stop()
    toy.stop()
    assert toy.members() == []
    assert not any(is_alive(process) for process in members)


def test_orphans_of_a_killed_server_do_not_hinder_the_next_start(home: Home) -> None:
    toy = Toy(home)
    toy.start()
    first = toy.members()
    leader = toy.leader()
    assert leader is not None
    leader.kill()
    leader.wait()
    assert toy.leader() is None
    assert toy.status().detail == "not started"
    assert toy.start() is True
    assert not any(is_alive(process) for process in first)


def test_orphans_that_wiped_their_environment_are_found_by_their_session(home: Home) -> None:
    toy = Toy(home)
    toy.source = _SERVER.replace('600)"])', '600)"], env={})')
    assert toy.source != _SERVER
    toy.start()
    leader = toy.leader()
    assert leader is not None
    (child,) = leader.children()
    leader.kill()
    leader.wait()
    assert toy.members() == [child]
    toy.stop()
    assert not is_alive(child)


def test_a_strangers_session_is_left_alone(home: Home) -> None:
    toy = Toy(home)
    # As after a reboot: the number in the pid file is now the session of someone else.
    program = (
        "import subprocess, sys;"
        "child = [sys.executable, '-c', 'import time; time.sleep(600)'];"
        "print(subprocess.Popen(child, stdout=subprocess.DEVNULL).pid, flush=True)"
    )
    stranger = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    child = psutil.Process(int(stranger.communicate()[0]))
    (toy.folder / "toy.pid").write_text(str(stranger.pid))
    toy.stop()
    assert is_alive(child)
    child.kill()


def test_a_server_whose_pid_was_never_written_is_found_by_its_mark(home: Home) -> None:
    toy = Toy(home)
    toy.start()
    first = toy.members()
    (toy.folder / "toy.pid").unlink()
    assert toy.start() is True
    assert not any(is_alive(process) for process in first)


@pytest.mark.parametrize("text", ["", "not a number", "999999999"])
def test_a_broken_pid_file_is_no_server(home: Home, text: str) -> None:
    toy = Toy(home)
    (toy.folder / "toy.pid").write_text(text)
    assert toy.leader() is None
    assert toy.start() is True


def test_a_pid_that_now_belongs_to_a_stranger_is_left_alone(home: Home) -> None:
    toy = Toy(home)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as stranger:
        (toy.folder / "toy.pid").write_text(str(stranger.pid))
        assert toy.leader() is None
        toy.start()
        toy.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_another_homes_server_is_not_ours(home: Home) -> None:
    other = Toy(Home(home.path / "inner"))
    toy = Toy(home)
    toy.start()
    other.start()
    (toy.folder / "toy.pid").write_text((other.folder / "toy.pid").read_text())
    assert toy.leader() is None
    toy.stop()
    assert other.status().running
    other.stop()
    assert toy.members() == other.members() == []


def test_a_failed_start_names_the_service_and_shows_its_log_without_secrets(home: Home) -> None:
    toy = Toy(home)
    toy.source = "import os, sys; print('my key is', os.environ['SECRET']); sys.exit(3)"
    with pytest.raises(ServiceUnavailableError) as failure:
        toy.start()
    text = str(failure.value)
    assert "toy exited while it was starting" in text
    assert "my key is ***" in text
    assert home.secrets().s3_secret_key not in text
    assert toy.members() == []


def test_a_server_that_never_answers_is_given_up_and_ended(home: Home) -> None:
    toy = ImpatientToy(home)
    toy.source = "import time; print('thinking', flush=True); time.sleep(600)"
    with pytest.raises(ServiceUnavailableError, match=r"did not answer in \d+ s"):
        toy.start()
    assert toy.members() == []


def test_a_server_that_makes_progress_gets_more_time(home: Home) -> None:
    """It needs longer than the time without progress, and says what it is doing."""
    toy = ImpatientToy(home)
    steps = "import time\nfor i in range(6): print('step', i, flush=True); time.sleep(0.3)\n"
    toy.source = steps + _SERVER
    assert toy.start() is True
    toy.stop()


def test_a_server_that_ignores_the_polite_signal_is_killed(home: Home) -> None:
    toy = HastyToy(home)
    toy.source = _SERVER.replace("SIG_DFL", "SIG_IGN")
    toy.start()
    toy.stop()
    assert toy.members() == []


def test_an_interrupted_start_leaves_nothing_running(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy(home)

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(toy, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        toy.start()
    assert toy.members() == []


def test_a_port_lost_between_choice_and_use_is_chosen_anew(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy(home)
    with socket.socket() as thief:

        def steal() -> None:
            monkeypatch.undo()
            # Bound without listening: a client's check cannot take it for the server. The thief's
            # port becomes the chosen one, since a chosen one may still be in the kernel's memory.
            thief.bind(("127.0.0.1", 0))
            [name] = toy.port_names
            (home.path / "ports.json").write_text(json.dumps({name: thief.getsockname()[1]}))

        monkeypatch.setattr(toy, "prepare", steal)
        toy.start()
        assert toy.port != thief.getsockname()[1]
        assert toy.status().running


def test_starts_at_the_same_time_make_one_server(home: Home) -> None:
    outcomes: list[bool] = []

    def start() -> None:
        toy = Toy(home)
        with home.lock():
            outcomes.append(toy.start())

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False, False, False, True]
    assert len(Toy(home).members()) == 2


def test_the_last_log_is_kept_and_private(home: Home) -> None:
    toy = Toy(home)
    toy.source = "print('first', flush=True)" + _SERVER
    toy.start()
    toy.stop()
    toy.source = _SERVER
    toy.start()
    assert Path(f"{toy.log}.1").read_text() == "first\n"
    assert toy.log.read_text() == ""
    assert toy.log.stat().st_mode & 0o077 == 0
