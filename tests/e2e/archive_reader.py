# SPDX-License-Identifier: Apache-2.0
"""A reader of archives written from docs/formats/archive.md and seal.md alone; it shares no code with rehome.

read(data, key=32 bytes | passphrase=bytes) gives an Archive, or raises Refused. `python3 archive_reader.py FILE KEYFILE`
prints its records."""
import ctypes
import ctypes.util
import hashlib
import hmac
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

EXTRA = 24


class Refused(Exception):
    pass


def need(right, what):
    if not right:
        raise Refused(what)


def hkdf(key, salt, info, size=32):
    return HKDF(algorithm=hashes.SHA256(), length=size, salt=salt or b"", info=info).derive(key)


class Cursor:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, size):
        need(size <= len(self.data) - self.at, "too short")
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def text(self, most=1 << 20):
        size = self.number(4)
        need(size <= most, "text too long")
        return self.take(size)


# --- the seal ---


class Seal:
    """Header of a sealed file, opened; then its frames."""

    def __init__(self, data, purpose, key=None, passphrase=None, binding=b""):
        cur = Cursor(data)
        need(cur.take(8) == b"RHSEAL\r\n", "no sealed file")
        need(cur.number(4) == 1, "version")
        fixed_size = cur.number(4)
        self.file_id, commitment, tag = cur.take(16), cur.take(32), cur.take(32)
        found = cur.take(cur.number(1))
        need(found == purpose and fixed_size == 97 + len(found), "purpose")
        fixed = data[:fixed_size]
        wrap_size = cur.number(4)
        need(wrap_size <= 3072, "wrap part")
        file_key = self.unwrap(fixed, cur.take(wrap_size), key, passphrase)
        bound = hashlib.sha256(binding).digest()
        need(hmac.compare_digest(hkdf(file_key, self.file_id, b"rehome seal 1 commitment"), commitment), "commitment")
        need(hmac.compare_digest(hkdf(file_key, self.file_id, b"rehome seal 1 binding" + bound), tag), "binding")
        self.frames = AESGCM(hkdf(file_key, self.file_id, b"rehome seal 1 frames" + bound))
        self.fixed_hash = hashlib.sha256(fixed).digest()
        self.data, self.header_size = data, cur.at

    def unwrap(self, fixed, wrap, key, passphrase):
        cur = Cursor(wrap)
        kind = cur.number(1)
        if kind == 1:
            need(key is not None, "wants a key file")
            need(cur.take(16) == hkdf(key, b"", b"rehome seal 1 key id", 16), "another key")
            secret = key
        elif kind == 2:
            need(passphrase is not None, "wants a passphrase")
            log_n, r, p, salt = cur.number(1), cur.number(4), cur.number(4), cur.take(32)
            need(1 <= log_n <= 20 and r and p and r * p <= 64, "scrypt")
            secret = hashlib.scrypt(passphrase, salt=salt, n=1 << log_n, r=r, p=p, maxmem=(1 << 31) - 2, dklen=32)
        else:
            raise Refused("unknown kind of key")
        ahead, nonce, wrapped = wrap[:cur.at], cur.take(12), cur.take(48)
        need(cur.at == len(wrap), "wrap part")
        try:
            return AESGCM(hkdf(secret, self.file_id, b"rehome seal 1 wrap")).decrypt(nonce, wrapped, fixed + ahead)
        except InvalidTag:
            raise Refused("the file key can't be unwrapped") from None

    def frame(self, at, number):
        """(plain bytes, last mark, offset behind it) of the frame at an offset."""
        cur = Cursor(self.data, at)
        head = cur.take(8)
        size, flags = struct.unpack(">II", head)
        need(size <= 64 << 20 and flags <= 1, "frame head")
        nonce = struct.pack(">Q3xB", number, flags)
        try:
            plain = self.frames.decrypt(nonce, cur.take(size + 16), self.fixed_hash + head)
        except InvalidTag:
            raise Refused(f"frame {number}") from None
        return plain, flags == 1, cur.at


# --- XXH3-128 with a secret, from the library ---


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxhash = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0")
xxhash.XXH3_128bits_withSecret.restype = Hash128
xxhash.XXH3_128bits_withSecret.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]


def record_hash(secret, dataset, key, fields):
    whole = struct.pack(">I", len(dataset)) + dataset + struct.pack(">Q", len(key)) + key + struct.pack(">I", len(fields))
    for tag, value in fields:
        whole += struct.pack(">BQ", tag, len(value)) + value
    found = xxhash.XXH3_128bits_withSecret(whole, len(whole), secret, len(secret))
    return found.high << 64 | found.low


# --- the archive ---


class Archive:
    pass


def parse_head(stream):
    cur = Cursor(stream)
    archive = Archive()
    need(cur.take(8) == b"RHARCH\r\n", "head")
    need(cur.number(4) == 1, "version of the stream")
    size = cur.number(4)
    need(size <= 65536, "head's size")
    archive.chunk, archive.begun = cur.number(4), cur.number(8)
    archive.model, archive.program = cur.text(32).decode(), cur.text(64).decode()
    archive.digest_key = cur.take(192)
    archive.datasets = []
    for _ in range(cur.number(4)):
        name = cur.text(399)
        fields = [(cur.number(1), cur.text(256)) for _ in range(cur.number(4))]
        archive.datasets.append({"name": name, "fields": fields, "records": []})
    need(archive.datasets and cur.at == size, "head")
    return archive, cur.at


def parse_footer(stream, archive, footer_at):
    cur = Cursor(stream, footer_at)
    need(cur.number(1) == 4, "footer")
    size = cur.number(4)
    end = cur.at + size
    archive.ended = cur.number(8)
    need(cur.number(4) == len(archive.datasets), "footer")
    for dataset in archive.datasets:
        dataset["opening"] = cur.number(8)
        dataset["count"], dataset["bytes"] = cur.number(8), cur.number(8)
        dataset["sum"] = cur.number(16)
        dataset["root"] = cur.number(8)
    need(cur.at == end == len(stream) - 24, "footer's end")


def parse_items(stream, archive, at, footer_at):
    """Fills in the records; gives the index blocks by offset."""
    cur, dataset, number, blocks, at_of = Cursor(stream, at), None, -1, {}, {}
    while cur.at < footer_at:
        begin, kind = cur.at, cur.number(1)
        if kind == 3:
            number += 1
            need(cur.number(4) == number and archive.datasets[number]["opening"] == begin, "opening")
            dataset = archive.datasets[number]
        elif kind == 2:
            level, count, size = cur.number(1), cur.number(4), cur.number(4)
            inner, entries = Cursor(cur.take(size)), []
            for _ in range(count):
                entries.append((inner.number(8), inner.number(8), inner.text()))
            need(count and inner.at == size, "block")
            blocks[begin] = (level, entries, number)
        else:
            need(kind == 1 and dataset is not None, "item")
            key, fields = cur.text(65536), []
            need(key and cur.number(4) == len(dataset["fields"]), "record")
            for tags, _ in dataset["fields"]:
                tag = cur.number(1)
                fields.append((tag, cur.take(cur.number(8))))
                need(tags >> tag & 1 and not (tag == 0 and fields[-1][1]), "field")
            need(not dataset["records"] or dataset["records"][-1][0] < key, "order")
            at_of[number, begin] = len(dataset["records"])
            dataset["records"].append((key, fields))
    need(cur.at == footer_at and number + 1 == len(archive.datasets), "items' end")
    return blocks, at_of


def check_index(archive, blocks, at_of):
    """Every block is reached from its root, every entry says what is true, and every chunk that should have one has."""
    seen = set()
    for number, dataset in enumerate(archive.datasets):
        marked = []

        def visit(at, level, ordinal, key):
            need(at in blocks and at not in seen, "index")
            seen.add(at)
            found, entries, of = blocks[at]
            need(of == number and (level is None or found == level), "level")
            need(ordinal is None or entries[0][1:] == (ordinal, key), "first entry")
            for offset, before, name in entries:
                need(offset < at, "entry points forward")
                if found:
                    visit(offset, found - 1, before, name)
                else:
                    need(at_of.get((number, offset)) == before and dataset["records"][before][0] == name, "entry")
                    marked.append(offset)

        need((dataset["root"] == 0) == (not dataset["records"]), "root")
        if dataset["root"]:
            visit(dataset["root"], None, None, None)
        firsts = {}
        for of, offset in sorted(at_of):
            if of == number:
                firsts.setdefault(offset // archive.chunk, offset)
        need(marked == sorted(firsts.values()), "chunks without an entry")
    need(seen == set(blocks), "blocks that nothing points to")


def check_sums(archive):
    for dataset in archive.datasets:
        total = sum(record_hash(archive.digest_key, dataset["name"], key, fields) for key, fields in dataset["records"])
        size = sum(len(key) + sum(len(value) for _, value in fields) for key, fields in dataset["records"])
        need((len(dataset["records"]), size, total % (1 << 128)) == (dataset["count"], dataset["bytes"], dataset["sum"]),
             "sum")


def read(data, key=None, passphrase=None):
    seal = Seal(data, b"archive", key, passphrase)
    at, number, stream, last = seal.header_size, 0, b"", False
    sizes = []
    while not last:
        need(at < len(data), "unfinished")
        plain, last, at = seal.frame(at, number)
        stream += plain
        sizes.append(len(plain))
        number += 1
    need(at == len(data), "more behind the end")
    archive, items_at = parse_head(stream)
    need(1024 <= archive.chunk <= 1 << 24 and 0 < sizes[-1] <= archive.chunk, "chunks")
    need(all(size == archive.chunk for size in sizes[:-1]), "chunks")
    tail = Cursor(stream, len(stream) - 24)
    footer_at = tail.number(8)
    need(tail.number(8) == len(stream) and tail.take(8) == b"RHAEND\r\n" and footer_at >= items_at, "tail")
    parse_footer(stream, archive, footer_at)
    blocks, at_of = parse_items(stream, archive, items_at, footer_at)
    check_index(archive, blocks, at_of)
    check_sums(archive)
    archive.stream, archive.blocks, archive.file_id = stream, blocks, seal.file_id
    return archive


def kv(archive):
    """{key: value or None} of an archive of that model."""
    need(archive.model == "kv" and [d["name"] for d in archive.datasets] == [b"kv"], "model")
    need(archive.datasets[0]["fields"] == [(3, b"value")], "schema")
    return {key: None if tag == 0 else value for key, [(tag, value)] in archive.datasets[0]["records"]}


def keyring(archive):
    """(owner, id) -> (type, data) of an archive of that model."""
    need(archive.model == "keyring" and [d["name"] for d in archive.datasets] == [b"keyring"], "model")
    need(archive.datasets[0]["fields"] == [(4, b"type"), (2, b"data")], "schema")
    found = {}
    for key, [(what, kind), (bytes_, data)] in archive.datasets[0]["records"]:
        size = int.from_bytes(key[:2], "big")
        need((what, bytes_) == (2, 1) and len(key) >= 2 + size, "key")
        found[key[2:2 + size], key[2 + size:]] = (kind, data)
    return found


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file, open(sys.argv[2], "rb") as key_file:
        for name, content in kv(read(file.read(), key=key_file.read())).items():
            print(name, content)
