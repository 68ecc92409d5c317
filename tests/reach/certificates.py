"""Certificates for one test: an authority, a server's and a client's; made with the ``openssl`` program."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Certificates:
    """An authority in ``folder`` and what it issued; a certificate is NAME.pem, its key NAME.key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._openssl(
            "req", "-x509", "-subj", "/CN=authority", *self._new_key("ca"), "-out", self.file("ca.pem"),
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def issue(self, name: str, subject: str = "IP:127.0.0.1") -> None:
        request = self.file(f"{name}.csr")
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={subject}\n")
        self._openssl("req", "-subj", f"/CN={name}", *self._new_key(name), "-out", request)
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.file("ca.pem"), "-CAkey", self.file("ca.key"),
            "-CAcreateserial", "-days", "1", "-extfile", str(extensions), "-out", self.file(f"{name}.pem"),
        )  # fmt: skip

    def _new_key(self, name: str) -> list[str]:
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        return [*curve, "-nodes", "-keyout", self.file(f"{name}.key")]

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=20)
