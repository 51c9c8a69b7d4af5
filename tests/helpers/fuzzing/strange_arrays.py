"""Files of arrays of which one array is another, is missing, or is no array."""

import io
import zipfile

import h5py
import numpy as np


def _strange(random, values):
    """Another array in place of one."""
    options = [
        lambda: np.full(values.shape, np.nan),
        lambda: np.full(values.shape, np.inf),
        lambda: values.ravel(),
        lambda: values[:-1],
        lambda: values[None],
        lambda: np.zeros(0),
        lambda: np.array(3.0),
        lambda: values[:0],
        lambda: np.array([b"Xx", b"H"]),
        lambda: np.array(["é", "H"]),
        lambda: values.astype(complex) if values.dtype.kind in "fi" else values,
        lambda: values.astype("S4") if values.dtype.kind != "S" else values,
        lambda: -values if values.dtype.kind in "fi" else values,
        lambda: np.full(values.shape, 1e300),
        lambda: values.astype(bool),
        lambda: np.full(values.shape, 200),
        lambda: np.full(values.shape, 1.5),
        lambda: np.zeros(values.shape),
        lambda: np.zeros((0, 2, 3)),
        lambda: np.zeros((5, 0, 3)),
        lambda: np.asfortranarray(values),
        lambda: values.astype(">f4") if values.dtype.kind == "f" else values,
        lambda: values.astype("datetime64[s]") if values.dtype.kind in "fi" else values,
        lambda: np.zeros(3, [("a", "i4"), ("b", "f8")]),
    ]
    return random.choice(options)()


def strange_npz(random, content):
    """An npz of which one array is another, is missing, or claims a shape that it has not."""
    arrays = dict(np.load(io.BytesIO(content)))
    key = random.choice(list(arrays))
    how = random.choice(["array", "array", "array", "missing", "shape", "name", "objects", "text"])
    if how == "array":
        arrays[key] = _strange(random, arrays[key])
    elif how == "missing":
        del arrays[key]
    elif how == "objects":
        arrays[key] = np.array([{"a": 1}, None], dtype=object)
    elif how == "text":
        arrays[random.choice(["e_unit", "r_unit", "theory", "charge", "spin"])] = random.choice(
            [
                np.array("kcal/mol"),
                np.array(b"\xff"),
                np.array("furlong"),
                np.array([1, 2]),
                np.array(np.nan),
                np.array([b"a"]),
            ]
        )
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, values in arrays.items():
            member = io.BytesIO()
            np.save(member, values, allow_pickle=True)
            raw = member.getvalue()
            if how == "shape" and name == key:
                raw = raw.replace(b"(5,", random.choice([b"(9,", b"(4,", b"(0,"])).replace(
                    b"'<f8'", b"'<f4'" if random.random() < 0.3 else b"'<f8'"
                )
            archive.writestr(f"{name}.npy" if how != "name" else name, raw)
    return sink.getvalue(), f"npz {how}"


def strange_h5(random, content):
    """An HDF5 file of which one dataset is another, is missing, or is a group or a link."""
    sink = io.BytesIO(content)
    how = random.choice(
        ["array", "array", "array", "missing", "group", "soft", "external", "root", "type", "bytes", "huge"]
    )
    with h5py.File(sink, "r+") as file:
        group = file[random.choice(["A", "B"])]
        key = random.choice(list(group))
        values = group[key][()]
        del group[key]
        if how == "array":
            other = _strange(random, values)
            try:
                group[key] = other
            except TypeError:
                group[key] = np.zeros(3)
        elif how == "group":
            group.create_group(key)
        elif how == "soft":
            group[key] = h5py.SoftLink("/nowhere")
        elif how == "external":
            group[key] = h5py.ExternalLink("other.h5", "/A/x")
        elif how == "root":
            file[key] = values
        elif how == "type":
            group[key] = np.dtype("f8")
        elif how == "bytes":
            group[key] = b"text"
        elif how == "huge":
            group.create_dataset(
                key,
                shape=(1 << 40, *values.shape[1:]),
                dtype="f8",
                chunks=(1024, *[max(1, n) for n in values.shape[1:]]),
            )
    return sink.getvalue(), f"h5 {how}"
