"""Hostile layers on a booted machine, by every way a layer comes in: refused or contained, said clearly, nothing outside the store
touched, nothing left behind. What there is of such layers, tests/oci has more of; here the image's own kernel and files are at stake.
"""

import contextlib
import hashlib
import http.server
import io
import json
import tarfile
import threading
import zlib

from machine import READY, Machine, run_agent
from report import Failed, expect, expect_equal

GO_ARCH = {"x86_64": "amd64", "arm64": "arm64"}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
BOMB = 10 << 30
STORE = "/var/lib/coracle/images"

# What a layer might reach, and how it looks: names, modes, owners, sizes, times, contents.
OUTSIDE = "/var/outside"
PREPARE = f"mkdir -p {OUTSIDE}/sub && echo untouched >{OUTSIDE}/canary && chmod 755 {OUTSIDE} {OUTSIDE}/sub"
SNAPSHOT = f"""
find /etc /var /tmp /root /home -path {STORE} -prune -o -printf '%p %y %m %U:%G %s %T@\\n' 2>/dev/null | sort
find /etc {OUTSIDE} -type f -exec sha256sum {{}} + | sort
"""
LEFT = f"cd {STORE} && find layers blobs names partial staging -mindepth 1"


def run(image, report):
    """One machine, and a registry that it reaches at 10.0.2.2."""
    with Machine(image, "hostile", run_agent(), memory=512, ports=[]) as vm, Registry() as registry:
        with report.case("hostile"):
            vm.wait(READY)
            # The store's folders are made by the first command.
            expect_equal("exit status", vm.sh(f"ctr images -q && {PREPARE}").status, 0)
            before = vm.sh(SNAPSHOT).output
            expect(before, rf"^{OUTSIDE}/canary f ", r"/etc/passwd$")
        bench = Bench(vm, registry, GO_ARCH[image.arch], report, before)
        refused(bench)
        damaged(bench)
        contained(bench)


def refused(bench):
    """Members that no layer may have."""
    bench.refuses("parent-directories", r"layer entry .*`\.\.` in its name", layer(file("../../etc/passwd")))
    bench.refuses("deep-parent-directories", r"`\.\.` in its name", layer(file("a/../../../../../../../..//var/outside/canary")))
    bench.refuses("symlink-escape", r"link to nothing in this layer", layer(link("way", OUTSIDE), file("way/canary")))
    bench.refuses("relative-symlink-escape", r"link to nothing in this layer", layer(link("way", "../" * 9 + "etc"), file("way/passwd")))
    bench.refuses("directory-over-symlink", r"link to nothing in this layer", layer(link("way", OUTSIDE), folder("way/sub/new")))
    bench.refuses("hard-link-escape", r"hard link to outside the layer", layer(link("passwd", "../../../etc/passwd", tarfile.LNKTYPE)))
    bench.refuses("absolute-hard-link", r"hard link .*not in the layer", layer(link("passwd", "/etc/passwd", tarfile.LNKTYPE)))
    bench.refuses("character-device", r"device node 1:1;", layer(device("dev/mem", tarfile.CHRTYPE, 1, 1)))
    bench.refuses("block-device", r"device node 8:0;", layer(device("disk", tarfile.BLKTYPE, 8, 0)))
    bench.refuses("forged-whiteout", r"would forge a whiteout", layer(device("etc/passwd", tarfile.CHRTYPE, 0, 0)))
    bench.refuses("whiteout-traversal", r"a whiteout of nothing", layer(file("etc/.wh...")))
    bench.refuses("sparse-bomb", r"unpacked size .*10737418240 bytes.* exceeds the limit of 1073741824 bytes", bomb(), "--max-size 1g")


def damaged(bench):
    """Streams that are not what they should be."""
    honest = layer(file("file"))
    # Of the same length, packed too: only the digest can tell.
    other = layer(file("evil"))
    bench.refuses("wrong-digest", r"does not match its digest: expected sha256:", honest, served=gzip(other, 0), described=gzip(honest, 0), ways=["saved", "layout", "pull"])
    cut = gzip(layer(file("file", b"x" * 100_000)))
    bench.refuses("truncated-gzip", r"gzip stream is truncated", honest, served=cut[:-20], described=cut[:-20])
    followed = gzip(honest) + b"garbage" * 10
    bench.refuses("garbage-after-gzip", r"gzip stream is damaged, or followed by garbage", honest, served=followed, described=followed)
    bench.refuses("shorter-than-said", r"expected [0-9]+ bytes", honest, served=gzip(honest)[:-1], ways=["layout", "pull"])


def contained(bench):
    """What may come in, because it stays where it belongs."""
    absolute = layer(file(f"{OUTSIDE}/canary"), file("/etc/passwd"), link("way", "/etc"), file("way/shadow"))
    for way in WAYS:
        with bench.report.case(f"hostile-absolute-names-{way}"):
            result = bench.bring(way, absolute, gzip(absolute), gzip(absolute))
            expect_equal(f"exit status of\n{result.output}", result.status, 0)
            inside = bench.vm.sh(f"cd {STORE}/layers/*/diff && cat var/outside/canary etc/passwd etc/shadow").output
            expect_equal("what is inside", inside, "escaped" * 3)
            bench.untouched()
            bench.empty()
        with bench.report.case(f"hostile-sparse-file-{way}"):
            free = "stat -f -c '%a %S' /var"
            blocks = int(bench.vm.sh(free).output.split()[0])
            result = bench.bring(way, bomb(), gzip(bomb()), gzip(bomb()))
            expect_equal(f"exit status of\n{result.output}", result.status, 0)
            inside = bench.vm.sh(f"cd {STORE}/layers/*/diff && stat -c %s bomb && du -k bomb").output.split()
            expect_equal("length", inside[0], str(BOMB))
            if int(inside[1]) > 64 or blocks - int(bench.vm.sh(free).output.split()[0]) > 256:
                raise Failed(f"the holes take space: {inside}")
            bench.empty()


class Bench:
    """Brings images in and looks at what became of it."""

    def __init__(self, vm, registry, architecture, report, before):
        self.vm, self.registry, self.report, self.before = vm, registry, report, before
        self.architecture = architecture

    def refuses(self, name, pattern, archive, options="", *, served=None, described=None, ways=None):
        """Each way refuses the layer. `served` comes instead of the archive, and is what the manifest says if it is `described`."""
        packed = gzip(archive)
        for way in ways or WAYS:
            with self.report.case(f"hostile-{name}-{way}"):
                result = self.bring(way, archive, served or packed, described or packed, options)
                expect(result.output, pattern)
                expect_equal(f"exit status of\n{result.output}", result.status, 1)
                expect_equal("what is left in the store", self.vm.sh(LEFT).output, "")
                self.untouched()

    def bring(self, way, archive, served, described, options=""):
        """Bring an image of one layer in: what was said."""
        config = {"architecture": self.architecture, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest(archive)]}}
        config = json.dumps(config).encode()
        layers = [descriptor(LAYER, described)]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, config), "layers": layers}
        manifest = json.dumps(manifest).encode()
        arguments = WAYS[way](self, manifest, config, described, served)
        return self.vm.sh(f"ctr {arguments} {options}", timeout=600)

    def put(self, name, data):
        """A file of the share, as the machine calls it."""
        (self.vm.share / name).write_bytes(data)
        return f"/mnt/share/{name}"

    def imported(self, _manifest, _config, _described, served):
        """The layer alone."""
        return f"import {self.put('layer.tar', served)} hostile"

    def saved(self, _manifest, config, _described, served):
        """An archive of `docker save`."""
        entries = json.dumps([{"Config": "config.json", "RepoTags": ["hostile:latest"], "Layers": ["layer.tar"]}]).encode()
        archive = layer(file("manifest.json", entries), file("config.json", config), file("layer.tar", served))
        return f"load -i {self.put('saved.tar', archive)}"

    def layout(self, manifest, config, described, served):
        """An OCI layout."""
        index = json.dumps({"schemaVersion": 2, "manifests": [descriptor(MANIFEST, manifest)]}).encode()
        files = [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index)]
        files += [(blob(name), data) for name, data in [(manifest, manifest), (config, config), (described, served)]]
        return f"load -i {self.put('layout.tar', layer(*(file(name, data) for name, data in files)))}"

    def pull(self, manifest, config, described, served):
        """A registry."""
        self.registry.manifest = manifest
        self.registry.blobs = {digest(config): config, digest(described): served}
        return f"pull --tls-verify=false --retry 0 10.0.2.2:{self.registry.port}/hostile"

    def untouched(self):
        """Nothing outside the store is other than it was."""
        after = self.vm.sh(SNAPSHOT).output
        if after != self.before:
            difference = set(after.splitlines()) ^ set(self.before.splitlines())
            raise Failed(f"touched: {sorted(difference)[:20]}")

    def empty(self):
        """Remove all images: the store is as empty as before."""
        result = self.vm.sh("ctr rmi $(ctr images -q)")
        expect_equal(f"exit status of\n{result.output}", result.status, 0)
        expect_equal("what is left in the store", self.vm.sh(LEFT).output, "")


WAYS = {"import": Bench.imported, "saved": Bench.saved, "layout": Bench.layout, "pull": Bench.pull}


class Registry(contextlib.AbstractContextManager):
    """Serves one manifest under every tag, and blobs, on loopback."""

    def __init__(self):
        self.manifest, self.blobs = b"", {}
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """Answers, and keeps no log."""

            def do_GET(self):
                """Manifests by any name, blobs by digest."""
                kind, _, name = self.path.rpartition("/")
                data = registry.manifest if kind.endswith("/manifests") else registry.blobs.get(name, b"")
                self.send_response(200)
                self.send_header("Content-Type", MANIFEST if kind.endswith("/manifests") else "application/octet-stream")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                """Not here."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def layer(*members):
    """A tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def file(name, data=b"escaped"):
    """A file; unlike tarfile itself this leaves the name as it is."""
    return tarfile.TarInfo(name), data


def folder(name):
    """A folder that anyone may write to."""
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o777
    return info, b""


def link(name, target, kind=tarfile.SYMTYPE):
    """A link."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def device(name, kind, major, minor):
    """A device node."""
    info = tarfile.TarInfo(name)
    info.type, info.devmajor, info.devminor, info.mode = kind, major, minor, 0o666
    return info, b""


def bomb():
    """A file of 10 GiB, all of it a hole: GNU's sparse format, the length in base 256."""
    header = bytearray(tarfile.TarInfo("bomb").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[483:495] = b"\x80" + BOMB.to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def gzip(data, level=6):
    """The same bytes each time."""
    packer = zlib.compressobj(level, wbits=31)
    return packer.compress(data) + packer.flush()


def digest(data):
    """As the image specification writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def blob(data):
    """Its place in a layout."""
    return f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"


def descriptor(media_type, data):
    """What points to it."""
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}
