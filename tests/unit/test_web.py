"""Who is let in, and what a browser may do with an answer."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from driftd.config.load import parse
from driftd.config.redact import HIDDEN, redact_model, redacted_dict
from driftd.config.schema import Http, Tls
from driftd.web import tokens as tokens_module
from driftd.web.security import REPORT_POLICY, RequestGuard
from driftd.web.server import TlsError, context_of
from driftd.web.tokens import TokenFileError, Tokens, first_token

TOKEN = "a-token-of-some-length"
OTHER = "another-token-of-some-length"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"# the clients' tokens\n{TOKEN}\n\n{OTHER}\n")
    file.chmod(0o640)
    return file


def test_every_token_of_the_file_is_accepted_and_nothing_else(path: Path) -> None:
    """Several tokens hold at once, so that clients can move from one to the next; the scheme is Bearer."""
    tokens = Tokens(path)
    assert tokens.accept(f"Bearer {TOKEN}")
    assert tokens.accept(f"bearer  {OTHER} ")
    for wrong in (None, "", TOKEN, "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \udcff"):
        assert not tokens.accept(wrong)


def test_a_changed_file_counts_within_a_second(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was taken out lets nobody in any more, and a file that became unusable lets in nobody at all."""
    now = [0.0]
    monkeypatch.setattr(tokens_module.time, "monotonic", lambda: now[0])
    tokens = Tokens(path)
    path.write_text(f"{OTHER}\n")
    now[0] += 1.0
    assert not tokens.accept(f"Bearer {TOKEN}")
    assert tokens.accept(f"Bearer {OTHER}")
    path.chmod(0o644)
    now[0] += 1.0
    assert not tokens.accept(f"Bearer {OTHER}")
    assert "may be read by everybody" in (tokens.fault or "")
    path.chmod(0o600)
    now[0] += 1.0
    assert tokens.accept(f"Bearer {OTHER}")


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("", 0o600, "holds no token: write one a line"),
        ("# only this\n", 0o600, "holds no token"),
        ("short\n", 0o600, "token 1 has under 16 characters"),
        (f"{TOKEN}\n", 0o644, "may be read by everybody (mode 644): chmod o="),
        ("ä" * 20, 0o600, "a token is plain ASCII"),
    ],
)
def test_a_file_of_tokens_that_would_protect_nothing_is_refused(
    tmp_path: Path, content: str, mode: int, words: str
) -> None:
    """The refusal says what is wrong and what to do."""
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(TokenFileError) as refused:
        Tokens(file)
    assert words in str(refused.value)
    assert TOKEN not in str(refused.value)


def test_a_token_may_have_a_role_and_a_name(tmp_path: Path) -> None:
    """What stands behind a token says whether it may operate and how it is called; a file of before has neither."""
    file = tmp_path / "token"
    phrase = "several words that were a token"
    file.write_text(f"{TOKEN} role=operate name=ada\n{OTHER}\n{phrase}\n{OTHER}x name=ci@build\n")
    file.chmod(0o600)
    tokens = Tokens(file)
    found = [tokens.bearer(f"Bearer {token}") for token in (TOKEN, OTHER, phrase, f"{OTHER}x")]
    assert [token is not None and token.may_operate for token in found] == [True, False, False, False]
    names = [token.name for token in found if token is not None]
    assert names == ["ada", f"token {digest(OTHER)}", f"token {digest(phrase)}", "ci@build"]
    assert not tokens.accept(f"Bearer {TOKEN} role=operate name=ada")
    assert first_token(file) == TOKEN


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("role=admin", "the roles are `role=operate` and `role=submit`"),
        ("rol=operate", "after a token stand at most `role=operate` and `name=...`"),
        ("role=operate role=operate", "each once"),
        ("role=operate ada", "at most"),
        ("name=", "a name has at most 64 letters"),
        ("name=a/b", "a name has at most 64 letters"),
    ],
)
def test_what_stands_behind_a_token_must_be_known(tmp_path: Path, words: str, complaint: str) -> None:
    """A role that is misspelt stops the start with a sentence, and gives nobody a right by accident."""
    file = tmp_path / "token"
    file.write_text(f"{OTHER}\n{TOKEN} {words}\n")
    file.chmod(0o600)
    with pytest.raises(TokenFileError) as refused:
        Tokens(file)
    assert complaint in str(refused.value)
    assert "token 2" in str(refused.value)
    assert TOKEN not in str(refused.value)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:8]


def test_an_absent_file_of_tokens_is_refused(tmp_path: Path) -> None:
    """Without its file nothing starts as if no token were asked for."""
    with pytest.raises(TokenFileError, match="cannot be read: No such file"):
        Tokens(tmp_path / "nothing")


def test_a_bare_name_is_a_credential_of_systemd(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`token_file: token` is looked for where the unit's credentials are."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(path.parent))
    assert Tokens(Path("token")).accept(f"Bearer {TOKEN}")


def fenced(
    tokens: Tokens | None = None, *, access: Http | None = None, has_journal: bool = False
) -> tuple[TestClient, list[str]]:
    async def answer(request: Request) -> Response:
        if request.url.path == "/report":
            return PlainTextResponse("report", headers={"Content-Security-Policy": REPORT_POLICY})
        return PlainTextResponse(request.method)

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "PUT", "DELETE"])])
    refused: list[str] = []
    guard = RequestGuard(app, tokens=tokens, refused=refused.append, has_journal=has_journal)
    if access is not None:
        guard = RequestGuard.of(app, access, refused.append, has_journal=has_journal)
    return TestClient(guard, base_url="http://127.0.0.1:9464"), refused


BEARER = {"Authorization": f"Bearer {TOKEN}"}


def basic(password: str) -> dict[str, str]:
    """What a browser sends that asked for a user and a password."""
    return {"Authorization": "Basic " + base64.b64encode(f"anna:{password}".encode()).decode()}


@pytest.mark.parametrize("has_tokens", [False, True])
def test_a_foreign_name_reads_nothing(path: Path, has_tokens: bool) -> None:
    """With and without tokens, whoever asks by a name that is none of ours reads only with a token."""
    access = Http(token_file=path if has_tokens else None, hosts=("drift.example.org",))
    client, refused = fenced(access=access)
    own = socket.gethostname()
    for name in ("127.0.0.1:9464", "localhost", "[::1]:9464", "Drift.Example.org.:9464", own, own.partition(".")[0]):
        assert client.get("/api/config", headers={"Host": name}).status_code == 200
    for name in ("evil.example", "evil.example:9464", "127.0.0.1.evil.example", "localhost.evil.example"):
        assert client.get("/api/config", headers={"Host": name}).status_code == 403
    status = client.get("/api/config", headers={"Host": "evil.example", **BEARER}).status_code
    assert status == (200 if has_tokens else 403)
    assert set(refused) == {"host"}


@pytest.mark.parametrize(
    ("access", "is_any"),
    [
        (Http(allow_anonymous=True), True),
        (Http(allow_anonymous=True, hosts=("drift.example.org",)), False),
        (Http(hosts=("*",)), True),
        (Http(listen="ml1.example.org:9464"), False),
    ],
)
def test_any_name_is_known_where_the_config_says_so(access: Http, is_any: bool) -> None:
    """A proxy passes names of its own; once the config names hosts, only these are known. What it listens on is."""
    client, _ = fenced(access=access)
    assert client.get("/", headers={"Host": "proxy.example"}).status_code == (200 if is_any else 403)
    assert client.get("/", headers={"Host": access.listen}).status_code == 200


def test_reading_can_be_made_to_need_a_token(path: Path) -> None:
    """With `protect: all` only the sign of life is open; a browser gives the token as a password, to look alone."""
    client, refused = fenced(access=Http(token_file=path, protect="all"))
    assert client.get("/-/healthy").status_code == 200
    for place in ("/", "/metrics", "/api/config", "/-/ready", "//-/healthy"):
        answer = client.get(place)
        assert answer.status_code == 401
        assert "Basic" in answer.headers["www-authenticate"]
        assert client.get(place, headers=BEARER).status_code == 200
        assert client.get(place, headers=basic(TOKEN)).status_code == 200
    assert client.get("/", headers=basic("wrong")).status_code == 401
    assert client.get("/", headers={"Authorization": "Basic ***"}).status_code == 401
    assert client.post("/-/reload", headers=basic(TOKEN)).status_code == 401
    assert client.post("/-/reload", headers=BEARER).status_code == 200
    assert set(refused) == {"token"}


def test_what_changes_something_is_in_the_journal_with_who(path: Path) -> None:
    """A request that is let in and may change something names its client and which token it bore, not the token."""
    client, _ = fenced(Tokens(path), has_journal=True)
    with capture_logs() as lines:
        client.get("/metrics", headers=BEARER)
        client.post("/-/reload", headers={**BEARER, "User-Agent": "curl/8"})
        client.post("/-/reload")
    taken = [line for line in lines if line["event"] == "request_taken"]
    assert [(line["method"], line["path"], line["agent"]) for line in taken] == [("POST", "/-/reload", "curl/8")]
    assert taken[0]["who"] == f"token {hashlib.sha256(TOKEN.encode()).hexdigest()[:8]}"
    assert TOKEN not in str(lines)


def test_reading_needs_no_token_and_changing_does(path: Path) -> None:
    """GET is open; POST, PUT and DELETE are let in with a token alone, and told how."""
    client, refused = fenced(Tokens(path))
    assert client.get("/metrics").status_code == 200
    for method in ("POST", "PUT", "DELETE"):
        answer = client.request(method, "/-/reload")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="driftd"'
        assert client.request(method, "/-/reload", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert refused == ["token"] * 3


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # curl
        ({"Origin": "http://127.0.0.1:9464", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "localhost:9464"}, 200),
        ({"Host": "[::1]:9464"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        (
            {"Host": "evil.example:9464", "Origin": "http://evil.example:9464"},
            403,
        ),  # a name that was made to point here
        ({"Host": ""}, 403),
    ],
)
def test_a_page_in_the_operators_browser_changes_nothing(headers: dict[str, str], status: int) -> None:
    """Without tokens only programs and the page itself may post; other pages and names that point here may not."""
    assert fenced()[0].post("/-/reload", headers=headers).status_code == status
    fooled = headers.get("Host", "").startswith("evil")  # it could read what it gets: the browser takes it for its own
    assert fenced()[0].get("/metrics", headers=headers).status_code == (403 if fooled else 200)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_answer_binds_the_browser(path: Path, method: str) -> None:
    """Answers and refusals alike forbid foreign content, framing and guessing of types; a report stays in its box."""
    client, _ = fenced(Tokens(path))
    answer = client.request(method, "/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert client.get("/report").headers.get_list("content-security-policy") == [REPORT_POLICY]
    assert "sandbox" in REPORT_POLICY
    assert "allow-same-origin" not in REPORT_POLICY


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-keyout", folder / "key", "-out", folder / "cert"], check=True, capture_output=True)
    return Tls(certificate=folder / "cert", key=folder / "key")


def test_tls_begins_at_1_2(pair: Tls) -> None:
    """Older versions of the protocol are not spoken."""
    assert context_of(pair).minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_certificate_that_cannot_be_used_is_told(pair: Tls, tmp_path: Path) -> None:
    """An absent file is named; two files that do not belong together are told as such."""
    with pytest.raises(TlsError, match=r"tls.key: .*nothing cannot be read: No such file"):
        context_of(pair.model_copy(update={"key": tmp_path / "nothing"}))
    with pytest.raises(TlsError, match="are no certificate with its key"):
        context_of(pair.model_copy(update={"key": pair.certificate}))


def test_what_looks_like_a_secret_is_not_shown() -> None:
    """By its key, inside an address, as a query or after an option; everything else stays as it is."""
    given = {
        "parameters": {"max_iter": 30, "db_password": "hunter2", "api_key": "hunter2", "depth": [1, 2]},
        "command": ["train", "--token", "hunter2", "--rows=5", "--password=hunter2"],
        "path": "s3://key:hunter2@bucket/rows?signature=hunter2&part=7",
        "feedback": "s3://bucket/labels?secret_access_key=hunter2",
        "tokens_per_row": 12,
    }
    found = redact_model(given)
    assert "hunter2" not in str(found)
    assert found["parameters"]["max_iter"] == 30
    assert found["parameters"]["depth"] == [1, 2]
    assert found["command"] == ["train", "--token", HIDDEN, "--rows=5", f"--password={HIDDEN}"]
    assert found["path"] == f"s3://key:{HIDDEN}@bucket/rows?signature={HIDDEN}&part=7"
    assert found["tokens_per_row"] == 12


def test_a_shown_config_reads_again_as_a_config() -> None:
    """What is kept of a config in force still is one, so that commands can go by it."""
    text = (
        "models:\n  api_token: {task: regression, target: y, parameters: {password: hunter2}, "
        "features: {has_token: boolean, auth: number, password: category}}\n"
        "notify: {secret: {command: [page, --token, hunter2]}}\n"
    )
    config = parse(text.encode())
    again = type(config).model_validate(redacted_dict(config))
    assert again.models["api_token"].parameters == {"password": HIDDEN}
    assert again.models["api_token"].features == config.models["api_token"].features
    assert again.notify["secret"].command == ("page", "--token", HIDDEN)
    assert "hunter2" not in os.fspath(str(redacted_dict(config)))
