"""GitHub's published description of its REST API: what was sent and answered is held against it."""

import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from openapi_schema_validator import OAS30ReadValidator, OAS30WriteValidator, oas30_format_checker
from referencing import Registry
from referencing.jsonschema import DRAFT202012

PACKAGE = "@octokit/openapi@23.0.2"
_FILE = "package/generated/api.github.com.json"
# Any request may be answered so; the description says it once in prose, not at every path.
ANYWHERE = {0, 301, 307, 401, 403, 404, 418, 429, 500, 502, 503, 504}


def fetched(cache: Path) -> tuple[Path | None, str]:
    """The description, fetched with npm once; or None, and why not."""
    place = cache / f"{PACKAGE.replace('/', '-')}.json"
    if place.is_file():
        return place, ""
    npm = shutil.which("npm")
    if npm is None:
        return None, "there is no npm"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        command = [npm, "pack", PACKAGE, "--silent", "--pack-destination", folder]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode != 0 or not archives:
            return None, f"npm pack {PACKAGE} failed: {done.stderr.strip()[-200:]}"
        with tarfile.open(archives[0]) as archive:
            text = archive.extractfile(_FILE)
            assert text is not None
            (Path(folder) / "description").write_bytes(text.read())
        os.replace(Path(folder) / "description", place)
    return place, ""


class Description:
    """The operations and schemas of the description."""

    def __init__(self, path: Path) -> None:
        self.data = json.loads(path.read_bytes())
        resource = DRAFT202012.create_resource(self.data)
        self.registry: Registry[Any] = Registry().with_resource("urn:github", resource)
        # More than the 512 patterns that `re` keeps, so compiled here and not at each request.
        templates = sorted(self.data["paths"], key=lambda template: template.count("{"))
        self.patterns = {each: re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(each))) for each in templates}

    def example(self, name: str) -> dict[str, Any]:
        """An example of a schema."""
        value: dict[str, Any] = self.data["components"]["examples"][name]["value"]
        return value

    def faults(
        self, method: str, path: str, query: dict[str, list[str]], body: Any, status: int, answer: Any
    ) -> list[str]:
        """What is wrong with a request and its answer; nothing, one hopes."""
        template, operation = self._operation(method, path)
        where = f"{method} {path} ({status})"
        if operation is None:
            return [f"{where}: there is no such operation"]
        pointer = f"urn:github#/paths/{_escaped(template)}/{method.lower()}"
        known = {self._resolved(each)["name"] for each in operation.get("parameters", [])}
        found = [f"{where}: there is no parameter {name}" for name in query if name not in known]
        if (body is None) != ("requestBody" not in operation):
            found.append(f"{where}: the body is {body!r}")
        elif body is not None:
            schema = f"{pointer}/requestBody/content/application~1json/schema"
            found += self._against(schema, body, OAS30WriteValidator, where)
        if str(status) not in operation["responses"]:
            return found + ([] if status in ANYWHERE else [f"{where}: no such answer is described"])
        response, at = operation["responses"][str(status)], f"{pointer}/responses/{status}"
        if "$ref" in response:
            at = f"urn:github{response['$ref']}"
            response = self._resolved(response)
        if "content" in response:
            found += self._against(f"{at}/content/application~1json/schema", answer, OAS30ReadValidator, where)
        elif answer is not None:
            found.append(f"{where}: there should be no body")
        return found

    def _against(self, pointer: str, value: Any, kind: Any, where: str) -> list[str]:
        validator = kind({"$ref": pointer}, registry=self.registry, format_checker=oas30_format_checker)
        return [f"{where}: {error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]

    def _operation(self, method: str, path: str) -> tuple[str, dict[str, Any] | None]:
        # Links to further pages name the repository by its id.
        path = re.sub(r"^/repositories/42/", "/repos/acme/nets/", path)
        for template, pattern in self.patterns.items():
            operations = self.data["paths"][template]
            if method.lower() in operations and pattern.fullmatch(path):
                return template, operations[method.lower()]
        return "", None

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            inner = self.data
            for part in node["$ref"].removeprefix("#/").split("/"):
                inner = inner[part]
            node = inner
        return node


def _escaped(template: str) -> str:
    return template.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
