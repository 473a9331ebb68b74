"""JSON schemas, as OpenAPI and AsyncAPI documents have them, in words and tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from docs_site.markdown import code, table


def fields(schema: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    """A table of the fields of an object, and its first example."""
    found = resolved(schema, document)
    properties = found.get("properties", {})
    rows = [(f"`{name}`", type_of(one), one.get("description", "")) for name, one in properties.items()]
    if rows:
        yield table(("field", "type", "meaning"), rows)
    if examples := found.get("examples"):
        yield code(json.dumps(examples[0], indent=1), "json")


def resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference stands for."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def type_of(schema: dict[str, Any]) -> str:
    """What a value looks like, in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    kind = str(schema.get("type", "any"))
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(type_of(each) for each in schema['prefixItems'])}]"
    if kind == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    default = f", default {schema['default']}" if schema.get("default") not in (None, "") else ""
    return f"{schema.get('format', kind)}{default}"
