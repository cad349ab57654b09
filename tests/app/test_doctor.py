"""The doctor tells what works, and for what does not: what would fail, and how to mend it."""

import json
import sys
from datetime import date
from pathlib import Path

import pytest

from app import doctor
from app.cli import main
from app.doctor import (
    Check,
    check_disk,
    check_javascript,
    check_litert,
    check_network,
    check_packages,
    check_python,
    check_tensorflow,
    check_weights,
    check_ytdlp,
)
from tests.ingest.file_server import serving


def told(check: Check) -> bool:
    """What is not well comes with what fails and how to mend it; what is well says neither."""
    return bool(check.seen) and all(bool(text) == (check.state != "ok") for text in (check.fails, check.remedy))


@pytest.mark.parametrize(("version", "state"), [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 14, 0), "fail")])
def test_python(version, state):
    check = check_python(version)
    assert check.state == state and told(check)


def test_a_missing_package_is_named_with_what_needs_it():
    check = check_packages({"json": "everything", "no_such_package": "seeing"})
    assert check.state == "fail" and "no_such_package: seeing" in check.fails and told(check)
    assert check_packages({"json": "everything"}).state == "ok"


@pytest.mark.parametrize(
    ("code", "state"), [("print('9.9')", "ok"), ("import no_such_package", "warn"), ("import os; os.abort()", "warn")]
)
def test_tensorflow_is_tried_elsewhere(code, state):
    check = check_tensorflow((sys.executable, "-c", code))
    assert check.state == state and told(check)


def test_weights_are_missing_foreign_or_there(tmp_path, monkeypatch):
    monkeypatch.setattr("embeddings.weights.cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "yamnet.h5").write_bytes(b"mine")
    checks = {check.name: check for check in check_weights(tmp_path)}
    assert checks["vggish_model.ckpt"].remedy.startswith("earshot weights fetch vggish_model.ckpt")
    assert "not the official file" in checks["yamnet.h5"].seen
    assert all(check.state == "warn" and told(check) for check in checks.values())


def test_the_cache_must_be_writable(tmp_path, monkeypatch):
    monkeypatch.setattr("embeddings.weights.cache_folder", lambda: tmp_path / "cache")
    assert check_litert().state == "ok"
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("embeddings.weights.cache_folder", lambda: tmp_path / "file")
    check = check_litert()
    assert check.state == "fail" and told(check)


@pytest.mark.parametrize(
    ("version", "state"), [("2026.10.26", "ok"), ("2026.11.20.233000", "ok"), ("2025.1.1", "warn"), ("unknown", "ok")]
)
def test_ytdlp_grows_old(version, state, monkeypatch):
    monkeypatch.setattr(doctor.metadata, "version", lambda name: version)
    check = check_ytdlp(date(2026, 11, 20))
    assert check.state == state and told(check)


@pytest.mark.parametrize(
    ("runtimes", "scripts", "state"),
    [
        (("deno 2.3", True), True, "ok"),
        (("node 20 (too old)", False), True, "warn"),
        (("deno 2.3", True), False, "warn"),
    ],
)
def test_javascript_needs_a_runtime_and_scripts(runtimes, scripts, state, monkeypatch):
    monkeypatch.setattr(doctor, "_runtimes", lambda: runtimes)
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: object() if scripts else None)
    check = check_javascript()
    assert check.state == state and told(check)


def test_javascript_as_it_is_here():
    assert told(check_javascript())


def test_sites_answer_or_not():
    with serving({"there": b"x"}) as server:
        checks = check_network(5.0, {"a": (server.url + "there", "a"), "b": (server.url + "gone", "b")})
    checks += check_network(2.0, {"c": ("http://127.0.0.1:9/", "c")})
    assert [check.state for check in checks] == ["ok", "warn", "warn"] and all(map(told, checks))


@pytest.mark.parametrize(("free", "state"), [(1e12, "ok"), (5e9, "warn"), (1e6, "fail")])
def test_disk(free, state, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    check = check_disk(tmp_path / "not" / "yet" / "there")
    assert check.state == state and str(tmp_path) in check.seen and told(check)


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_only_what_is_essential_ends_with_1(state, code, monkeypatch, capsys):
    check = Check("thing", state, "seen", *(("x", "y") if state != "ok" else ()))
    monkeypatch.setattr(doctor, "examine", lambda settings: [check])
    for arguments in (["doctor", "--json"], ["doctor", "--folder", str(Path.cwd())]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert int(left.value.code or 0) == code
    out = capsys.readouterr().out.splitlines()
    assert json.loads(out[0])["checks"][0]["state"] == state
    assert out[1].startswith(state)
