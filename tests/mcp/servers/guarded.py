"""An MCP server over HTTP that wants tokens, with its authorization server and a switchboard: ``[json] [CERT KEY]``.

``POST /switch`` with JSON sets: ``status`` (calls of a tool are answered so), ``legacy`` (no 2026-07-28), ``expire``
(sessions so far), ``revoke`` (tokens so far), ``open`` (no token needed), ``life`` (seconds of a token), ``deny`` (no
tokens), ``move`` (redirect calls there), ``elsewhere`` (name that as the authorization server). The answer, and that of
``GET /switch``, says what has happened.
"""

import base64
import json
import secrets
import sys
import time
from urllib.parse import parse_qs

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

server = MCPServer("guarded")
switches: dict = {"life": 3600}
tokens: dict[str, float] = {}
seen: dict = {"issued": 0, "asked": [], "sessions": []}
expired: set[str] = set()


@server.tool()
async def add(a: int, b: int) -> int:
    return a + b


@server.tool()
async def nap(seconds: float) -> str:
    await anyio.sleep(seconds)
    return "awake"


@server.tool()
async def much(size: int) -> str:
    return "x" * size


inner = server.streamable_http_app(json_response="json" in sys.argv)


def allowed(request: Request) -> bool:
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    return bool(switches.get("open")) or tokens.get(bearer, 0) > time.monotonic()


async def give(request: Request) -> Response:
    form = {key: value[0] for key, value in parse_qs((await request.body()).decode()).items()}
    basic = base64.b64decode(request.headers.get("authorization", "")[6:]).decode()
    given = basic or f"{form.get('client_id')}:{form.get('client_secret')}"
    seen["asked"].append({key: form.get(key) for key in ("scope", "resource", "grant_type")})
    if switches.get("deny") or given != "robot:the-secret":
        return JSONResponse({"error": "invalid_client"}, 401)
    token = secrets.token_hex(8)
    tokens[token] = time.monotonic() + switches["life"]
    seen["issued"] += 1
    return JSONResponse(
        {"access_token": token, "token_type": "Bearer", "expires_in": switches["life"]}
    )


async def switch(request: Request) -> Response:
    if request.method == "POST":
        switches.update(await request.json())
        if switches.pop("expire", False):
            expired.update(seen["sessions"])
        if switches.pop("revoke", False):
            tokens.clear()
    return JSONResponse(seen)


def metadata(request: Request) -> Response | None:
    base = str(request.base_url).rstrip("/")
    if "oauth-protected-resource" in request.url.path:
        named = switches.get("elsewhere", base)
        return JSONResponse({"resource": f"{base}/mcp", "authorization_servers": [named]})
    if "oauth-authorization-server" in request.url.path:
        found = {
            "issuer": base,
            "authorization_endpoint": f"{base}/no",
            "token_endpoint": f"{base}/token",
        }
        return JSONResponse(found)
    return None


async def refusal(request: Request, body: bytes) -> Response | None:
    """Return what is answered in the MCP server's place."""
    if not allowed(request):
        return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
    session = request.headers.get("mcp-session-id")
    if session is not None and session not in seen["sessions"]:
        seen["sessions"].append(session)
    if session in expired:
        error = {"code": -32600, "message": "Session not found"}
        return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 404)
    message = json.loads(body or b"{}")
    if switches.get("legacy") and message.get("method") == "server/discover":
        error = {"code": -32601, "message": "Method not found"}
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error}, 400)
    if message.get("method") == "tools/call":
        if switches.get("move"):
            return Response(status_code=307, headers={"Location": switches["move"]})
        if switches.get("status"):
            return Response(status_code=switches["status"])
    return None


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        await inner(scope, receive, send)
        return
    request = Request(scope, receive)
    if scope["path"] in ("/token", "/switch"):
        answer = await (give if scope["path"] == "/token" else switch)(request)
        await answer(scope, receive, send)
        return
    body = await request.body()
    answer = metadata(request) or await refusal(request, body)
    if answer is not None:
        await answer(scope, receive, send)
        return
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> dict:
        return parts.pop() if parts else await receive()

    await inner(scope, again, send)


certificate = [word for word in sys.argv[1:] if word != "json"]
tls = dict(zip(("ssl_certfile", "ssl_keyfile"), certificate, strict=False))
uvicorn.run(app, port=0, log_level="info", **tls)
