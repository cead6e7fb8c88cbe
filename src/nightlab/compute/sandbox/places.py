"""Which places outside the lab a command needs to read: the system's programs, Python, and few files of /etc."""

from __future__ import annotations

import sys
from pathlib import Path

import nightlab

_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix/store")
_ETC = (
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "group",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
)
_PROCESSORS = "/sys/devices/system/cpu"


def system() -> list[Path]:
    """The system's own folders and files that exist here."""
    wanted = (*_FOLDERS, *(f"/etc/{name}" for name in _ETC), _PROCESSORS)
    return [path for path in map(Path, wanted) if path.exists()]


def tools(root: Path) -> list[Path]:
    """This Python, its environment and nightlab itself, where the system's folders and the lab do not hold them."""
    package = Path(nightlab.__file__).resolve().parent
    shipped = package if (package / "_lab").is_dir() else package.parent
    wanted = (Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), shipped)
    held = [Path(folder) for folder in (*_FOLDERS, str(root)) if Path(folder).is_dir()]
    return sorted({path for path in wanted if path.is_dir() and not any(path.is_relative_to(p) for p in held)})
