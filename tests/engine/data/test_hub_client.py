"""Downloading a pipeline: only when the spec says so, from a hub that the tests run on this machine."""

from __future__ import annotations

import errno
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub.constants import HF_HUB_CACHE

from fluxkit.engine.data import hub_client
from fluxkit.errors import ExitCode, MachineError
from fluxkit.machine.environment import child_environment
from fluxkit.model.download import download
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.spec.workload import ModelSpec

COMMIT = "741f7c3ce8b383c54771c7003378a50191e9efe9"
FILES = {
    "model_index.json": b'{"_class_name": "FluxPipeline"}',
    "transformer/config.json": b"{}",
    "transformer/model.safetensors": b"weights",
    "flux1-schnell.safetensors": b"the same again for other programs",
}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as a download uses; a repository named `gated` is refused."""

    asked: list[str]

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        self.asked.append(self.path)
        name = self.path.partition(f"/resolve/{COMMIT}/")[2]
        if "gated" in self.path:
            return self.reply(403, b"{}", with_body)
        if "/tree/" in self.path:
            tree = [
                {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}  # noqa: S324
                for name, body in FILES.items()
            ]
            return self.reply(200, json.dumps(tree).encode(), with_body)
        if self.path.startswith("/api/models/"):
            listing = {"id": "maker/schnell", "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]}
            return self.reply(200, json.dumps(listing).encode(), with_body)
        return self.reply(200 if name in FILES else 404, FILES.get(name, b""), with_body)

    def reply(self, code, body, with_body):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{len(body)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if code == 403:
            self.send_header("X-Error-Code", "GatedRepo")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_args):
        return


@pytest.fixture
def hub(tmp_path, monkeypatch):
    handler = type("Handler", (Hub,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))  # it read the variable when it loaded
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    for name in ("HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield handler
    server.shutdown()
    server.server_close()


def model(repo="maker/schnell", *, download=True):
    return ModelSpec(family="schnell", weights="pretrained", repo=repo, revision=COMMIT, download=download)


def test_a_pipeline_is_downloaded_once_and_without_what_is_not_needed(hub):
    """The parts arrive at the pinned commit, the single-file weights do not, and the hub is not asked twice."""
    download(model(), child_environment())
    folder = pipeline_folder(model())
    assert (folder / "transformer" / "model.safetensors").read_bytes() == b"weights"
    assert not (folder / "flux1-schnell.safetensors").exists()
    asked = len(hub.asked)
    download(model(), child_environment())
    assert len(hub.asked) == asked


def test_nothing_is_downloaded_unless_the_spec_says_so(hub):
    """Without download = true the hub is not even asked."""
    download(model(download=False), child_environment())
    assert hub.asked == []


@pytest.mark.usefixtures("hub")
def test_a_gated_repository_is_one_sentence():
    """A refusal of the hub says that the licence must be accepted and how to log in."""
    with pytest.raises(MachineError, match="gated: accept its licence"):
        download(model("maker/gated"), child_environment())


@pytest.mark.usefixtures("hub")
def test_without_a_network_it_is_one_sentence(monkeypatch):
    """Nobody at the hub's address ends in a question about the network, not in a traceback."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(MachineError, match="could not be downloaded"):
        download(model(), child_environment())


def test_a_hub_cache_that_can_not_be_written_is_named(capsys, monkeypatch):
    """A disk that refuses is no question about the network."""

    def refused(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub_client, "snapshot_download", refused)
    assert hub_client.main("maker/schnell", COMMIT) == ExitCode.MACHINE
    said = capsys.readouterr().err
    assert said == f"maker/schnell could not be downloaded: {HF_HUB_CACHE} can't be written: No space left on device.\n"


@pytest.mark.parametrize(("error", "told"), [(OSError, False), (RecursionError, False), (ValueError, True)])
def test_a_temporary_folder_left_on_a_broken_disk_is_no_traceback(capfd, monkeypatch, error, told):
    """What the hub's library can't remove at its end says nothing; any other fault there is told."""

    class Left:
        def __del__(self):
            raise error

    monkeypatch.setattr("sys.unraisablehook", hub_client.tell_all_but_leftovers)
    Left()
    assert ("Traceback" in capfd.readouterr().err) is told
