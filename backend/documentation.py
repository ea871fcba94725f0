"""The page at ``/docs``, made from the OpenAPI description on the server: no script, nothing from another host."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from backend.readiness import version

_STYLE = """
:root{color-scheme:light dark;--page:#F6F6F4;--surface:#FFFFFF;--line:#E2E2DE;--ink:#1A1B1A;--ink2:#545652;
--accent:#0B6B61;--soft:#E2EFEC;--case:#ECECE9}
@media (prefers-color-scheme:dark){:root{--page:#121313;--surface:#1A1B1B;--line:#2C2E2D;--ink:#ECEDEA;
--ink2:#B6B8B3;--accent:#7CCFC1;--soft:#17302C;--case:#0B0C0C}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:14px/21px Inter,system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:940px;margin:0 auto;padding:56px 20px 84px}
h1{font-size:26px;line-height:32px;letter-spacing:-.018em;font-weight:600;margin:0 0 8px}
h2{font-size:16px;line-height:24px;font-weight:600;margin:40px 0 8px}
p{margin:0 0 12px;color:var(--ink2);max-width:70ch}a{color:var(--accent)}
details{background:var(--surface);border:1px solid var(--line);border-radius:6px;margin:0 0 8px}
summary{padding:12px 16px;cursor:pointer;display:flex;flex-wrap:wrap;gap:4px 12px;align-items:baseline}
summary:focus-visible,a:focus-visible,pre:focus-visible{outline:2px solid var(--ink);outline-offset:2px}
summary b{min-width:58px;font-weight:600;color:var(--accent)}
code,pre{font:12px/18px "JetBrains Mono",ui-monospace,monospace}
summary code{font-size:13px;overflow-wrap:anywhere}summary span{color:var(--ink2)}
.body{padding:4px 16px 16px;border-top:1px solid var(--line)}
.body h3{font-size:13px;font-weight:600;margin:16px 0 4px}
pre{background:var(--case);border-radius:6px;padding:12px;overflow:auto;margin:0 0 8px}
table{border-collapse:collapse;width:100%}td{padding:6px 12px 6px 0;vertical-align:top;border-top:1px solid var(--line)}
td:first-child{white-space:nowrap}
"""
_METHODS = ("get", "post", "patch", "put", "delete")
DESCRIPTION = """Vitrine shows how vision models see a picture. Upload a picture, ask for predictions and
explanations, follow them live, fetch their maps, share them.

Every error is a JSON `Problem` with a `code` from a closed list, a `message` for people, and `retry`, which says
whether trying again makes sense. Pictures, arrays and runs are addressed by the sha256 of what they are."""


def describe_api() -> dict[str, Any]:
    """Returns the keyword arguments of ``FastAPI`` that describe it."""
    return {
        "title": "Vitrine",
        "version": version(),
        "description": DESCRIPTION,
        "openapi_url": "/api/v1/openapi.json",
        # FastAPI's own pages load their scripts from another host; ours is at the same address.
        "docs_url": None,
        "redoc_url": None,
    }


def render_page(openapi: dict[str, Any]) -> str:
    """Returns the page for people.

    Args:
        openapi: The OpenAPI description.
    """
    by_tag: dict[str, list[str]] = {}
    for path, item in openapi["paths"].items():
        for method in _METHODS:
            if method in item:
                operation = item[method]
                tag = (operation.get("tags") or ["Other"])[0]
                by_tag.setdefault(tag, []).append(_render_operation(path, method, operation, openapi))
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(entries)}" for tag, entries in by_tag.items())
    paragraphs = "".join(f"<p>{_inline(text)}</p>" for text in openapi["info"]["description"].split("\n\n"))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Vitrine API</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>Vitrine API</h1>{paragraphs}"
        '<p>The same for programs: <a href="/api/v1/openapi.json">openapi.json</a>.</p>'
        f"{sections}</main></body></html>"
    )


def _render_operation(path: str, method: str, operation: dict[str, Any], openapi: dict[str, Any]) -> str:
    parts = [f"<p>{_inline(operation.get('description', ''))}</p>"]
    if operation.get("parameters"):
        rows = "".join(_render_parameter(item) for item in operation["parameters"])
        parts.append(f"<h3>Parameters</h3><table>{rows}</table>")
    body = operation.get("requestBody", {}).get("content", {})
    if body:
        parts.append(f"<h3>Body</h3>{_render_content(body, openapi)}")
    rows = "".join(
        f"<tr><td><code>{escape(status)}</code></td><td>{_render_response(answer, openapi)}</td></tr>"
        for status, answer in sorted(operation.get("responses", {}).items())
    )
    parts.append(f"<h3>Answers</h3><table>{rows}</table>")
    return (
        f"<details><summary><b>{method.upper()}</b><code>{escape(path)}</code>"
        f"<span>{escape(operation.get('summary', ''))}</span></summary>"
        f'<div class="body">{"".join(parts)}</div></details>'
    )


def _render_parameter(item: dict[str, Any]) -> str:
    schema = item.get("schema", {})
    words = [item.get("description") or schema.get("description", "")]
    if item.get("required"):
        words.append("Needed.")
    elif schema.get("default") not in (None, ""):
        words.append(f"Default: {schema['default']}.")
    return (
        f"<tr><td><code>{escape(item['name'])}</code> ({escape(item['in'])})</td>"
        f"<td>{_inline(' '.join(word for word in words if word))}</td></tr>"
    )


def _render_content(content: dict[str, Any], openapi: dict[str, Any]) -> str:
    return "".join(
        f"<p><code>{escape(kind)}</code></p>{_render_schema(about.get('schema', {}), openapi)}{_render_examples(about)}"
        for kind, about in content.items()
    )


def _render_examples(about: dict[str, Any]) -> str:
    shown = [item["value"] for item in about.get("examples", {}).values()]
    blocks = "".join(f'<pre tabindex="0">{escape(json.dumps(item, indent=2))}</pre>' for item in shown)
    return f"<h3>For example</h3>{blocks}" if shown else ""


def _render_response(answer: dict[str, Any], openapi: dict[str, Any]) -> str:
    words = _inline(answer.get("description", ""))
    kinds = answer.get("content", {})
    names = [_schema_name(about.get("schema", {})) or kind for kind, about in kinds.items()]
    fields = "".join(
        _render_schema(about.get("schema", {}), openapi)
        for about in kinds.values()
        if _schema_name(about.get("schema", {})) not in ("", "Problem")
    )
    return f"{words} {' '.join(f'<code>{escape(name)}</code>' for name in names)}{fields}"


def _render_schema(schema: dict[str, Any], openapi: dict[str, Any]) -> str:
    name = _schema_name(schema)
    known = openapi.get("components", {}).get("schemas", {}).get(name.removesuffix("[]"))
    if known is None:
        return ""
    lines = {field: _type_words(about) for field, about in known.get("properties", {}).items()}
    return f'<pre tabindex="0">{escape(json.dumps(lines, indent=2, ensure_ascii=False))}</pre>' if lines else ""


def _schema_name(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if schema.get("type") == "array":
        inner = _schema_name(schema.get("items", {}))
        return f"{inner}[]" if inner else ""
    return ""


def _type_words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type_words(option) for option in schema["anyOf"])
    name = _schema_name(schema)
    words = name or str(schema.get("type", "anything"))
    return f"{words}: {schema['description']}" if schema.get("description") else words


def _inline(text: str) -> str:
    """Returns escaped text with code in backquotes marked up."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if place % 2 else piece for place, piece in enumerate(pieces))
