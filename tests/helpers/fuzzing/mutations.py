"""What is done to a file: at random, and the same again for the same seed."""

import bz2
import gzip
import lzma
import zlib

import pyarrow as pa

HTML = (
    b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head>\n<body><h1>Not Found</h1>"
    b"<p>The requested URL was not found on this server.</p></body></html>\n"
)
TOKENS = [
    b"nan",
    b"NaN",
    b"inf",
    b"-inf",
    b"1e999",
    b"",
    b"None",
    b"null",
    b"-1",
    b"0",
    b"9" * 400,
    b"Xx",
    b"Q",
    b"\xff\xfe",
    b"\xe9",
    "µ".encode(),
    b'"',
    b"'",
    b"1,5",
    b"1e-320",
    b"0x1F",
    b"true",
    b"[",
    b"]]",
    b"{}",
    b"\\u0000",
    b"$$$$",
    b"#",
    b"=SUM(A1)",
    b"%s%n",
    b"../../etc/passwd",
    b"\x1b[31m",
    b"\xed\xa0\x80",
]
PACKERS = {
    "gz": (gzip.compress, gzip.decompress),
    "bz2": (bz2.compress, bz2.decompress),
    "xz": (lzma.compress, lzma.decompress),
    "zst": (lambda b: pa.compress(b, "zstd", asbytes=True), None),
}
HUGE = 10 << 20


def flip(random, content):
    out = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 8, 64])):
        out[random.randrange(len(out))] ^= 1 << random.randrange(8)
    return bytes(out)


def truncate(random, content):
    return content[: random.choice([random.randrange(len(content)), random.randrange(min(64, len(content)))])]


def cut_tail(random, content):
    return content[: -random.randrange(1, min(64, len(content)) + 1)]


def empty(random, content):
    return random.choice([b"", b"\n", b" ", b"\n\n\n", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\r\n\r\n"])


def html(random, content):
    return random.choice([HTML, HTML + content, content + HTML, HTML.replace(b"\n", b"")])


def insert(random, content):
    at = random.randrange(len(content) + 1)
    what = random.choice(
        [b"\0", b"\0" * 100, random.randbytes(16), b"\r", b"\x1a", b"\x0c", "\u2028".encode(), *TOKENS]
    )
    return content[:at] + what + content[at:]


def remove(random, content):
    at = random.randrange(len(content))
    return content[:at] + content[at + random.randrange(1, 200) :]


def repeat(random, content):
    at = random.randrange(len(content))
    end = at + random.randrange(1, 400)
    return content[:end] + content[at:]


def blank(random, content):
    at, size = random.randrange(len(content)), random.randrange(1, 200)
    return content[:at] + random.choice([b"\0", b"\xff", b" "]) * size + content[at + size :]


def append(random, content):
    return content + random.choice([random.randbytes(100), content, b"\0" * 512, b"\n" * 50, b"PK\x03\x04"])


def noise(random, content):
    return random.choice([b"", content[:4], content[:8]]) + random.randbytes(random.randrange(1, 2000))


def number(random, content):
    """Four or eight bytes of another number, as lengths and offsets in headers are."""
    at = random.randrange(len(content))
    what = random.choice([b"\xff" * 4, b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 3, b"\xff\xff\xff\x7f"])
    return content[:at] + what + content[at + len(what) :]


BINARY = [
    flip,
    flip,
    flip,
    truncate,
    truncate,
    cut_tail,
    empty,
    html,
    insert,
    remove,
    repeat,
    blank,
    append,
    noise,
    number,
]


def _lines(content):
    return content.splitlines(keepends=True) or [b""]


def delete_line(random, content):
    lines = _lines(content)
    del lines[random.randrange(len(lines))]
    return b"".join(lines)


def duplicate_line(random, content):
    lines = _lines(content)
    at = random.randrange(len(lines))
    return b"".join([*lines[: at + 1], *lines[at:]])


def swap_lines(random, content):
    lines = _lines(content)
    a, b = random.randrange(len(lines)), random.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


def join_lines(random, content):
    lines = _lines(content)
    at = random.randrange(len(lines))
    lines[at] = lines[at].rstrip(b"\r\n")
    return b"".join(lines)


def swap_cells(random, content):
    lines = _lines(content)
    at = random.randrange(len(lines))
    mark = random.choice([b",", b" ", b"\t", b":", b";"])
    cells = lines[at].rstrip(b"\n").split(mark)
    random.shuffle(cells)
    lines[at] = mark.join(cells) + b"\n"
    return b"".join(lines)


def replace_token(random, content):
    lines = _lines(content)
    at = random.randrange(len(lines))
    mark = random.choice([b",", b" ", b"\t", b":", b"=", b'"'])
    cells = lines[at].rstrip(b"\n").split(mark)
    cells[random.randrange(len(cells))] = random.choice(TOKENS)
    lines[at] = mark.join(cells) + b"\n"
    return b"".join(lines)


def quote(random, content):
    lines = _lines(content)
    at = random.randrange(len(lines))
    line = lines[at]
    where = random.randrange(len(line) + 1)
    lines[at] = random.choice([b'"' + line, line[:where] + b'"' + line[where:], line.rstrip(b"\n") + b'"\n'])
    return b"".join(lines)


def mixed_encoding(random, content):
    lines = _lines(content)
    at = random.randrange(len(lines))
    cell = random.choice(
        ["é".encode("latin-1"), b"\x93x\x94", "é".encode("utf-16-le"), "日本".encode("shift-jis")]
    )
    line = lines[at].rstrip(b"\n")
    lines[at] = random.choice([line + b"," + cell, cell + line, line + b" " + cell]) + b"\n"
    return b"".join(lines)


def encoding(random, content):
    name = random.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp500"])
    return content.decode("utf-8", "replace").encode(name, "replace")


def line_ends(random, content):
    return content.replace(b"\n", random.choice([b"\r\n", b"\r", b"\n\r", b"\n\n", b"\0", b""]))


def huge_line(random, content):
    lines = _lines(content)
    at = random.randrange(len(lines) + 1)
    what = random.choice(
        [b"C", b"x", b'"', b",", b"(", b"[C]", b"[", b" ", b"1", b"c1", b"{", b"\t", b"a=", b"\0"]
    )
    line = what * (HUGE // len(what))
    lines.insert(
        at, random.choice([line, lines[0].rstrip(b"\n") + b"," + line]) + random.choice([b"\n", b""])
    )
    return b"".join(lines)


def deep(random, content):
    what = random.choice([b"[", b'{"a":', b"(", b"C(", b"[["])
    if random.random() < 0.5:
        depth = random.choice([200, 900, 2000, 100_000])
        start, end = random.choice([(b"[", b"]"), (b'{"a":', b"}"), (b"C(", b")")])
        return random.choice([b"", content]) + start * depth + b"1" + end * depth + b"\n"
    return random.choice([b"", content]) + what * random.choice([1000, 100_000])


TEXT = [
    delete_line,
    duplicate_line,
    swap_lines,
    join_lines,
    swap_cells,
    replace_token,
    replace_token,
    replace_token,
    quote,
    mixed_encoding,
    encoding,
    line_ends,
    deep,
]
SLOW = [huge_line]


def mutate(random, content, kind):
    """A damaged copy of a file.

    Args:
        random: of the case.
        content: of the whole file.
        kind: text | binary | packed.NAME, a text within a compression.
    """
    if kind.startswith("packed."):
        pack, unpack = PACKERS[kind.removeprefix("packed.")]
        if random.random() < 0.5:
            done = [random.choice(BINARY)]
            return done[0](random, content), done[0].__name__
        inner = (
            unpack(content) if unpack else pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()
        )
        changed, name = mutate(random, inner, "text")
        return pack(changed), f"packed {name}"
    choices = BINARY if kind == "binary" else [*TEXT, *TEXT, *BINARY]
    if kind == "text" and random.random() < 0.02:
        choices = SLOW
    names = []
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        if not content:
            break
        chosen = random.choice(choices)
        if chosen is huge_line and len(content) > HUGE:
            break
        content = chosen(random, content)
        names.append(chosen.__name__)
    return content, "+".join(names)


def crc_kept(content):
    """Checksum, so that two runs can be compared."""
    return zlib.crc32(content)
