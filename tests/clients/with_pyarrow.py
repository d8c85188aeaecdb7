"""pyarrow: its S3 file system (the C++ SDK), and a Parquet data set on it."""

import pyarrow
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet
from pyarrow import fs

from scenario import *

BUCKET = bucket("pyarrow")
s3 = fs.S3FileSystem(
    access_key=ACCESS_KEY,
    secret_key=SECRET_KEY,
    region=REGION,
    scheme="http",
    endpoint_override=ENDPOINT.split("//")[1],
    allow_bucket_creation=True,
    allow_bucket_deletion=True,
)
BLOCK = 4 * MIB


def write(path, source):
    with open(source, "rb") as file, s3.open_output_stream(f"{BUCKET}/{path}") as out:
        while block := file.read(BLOCK):
            out.write(block)


def read(path, target):
    with s3.open_input_stream(f"{BUCKET}/{path}") as file, open(target, "wb") as out:
        while block := file.read(BLOCK):
            out.write(block)


def listed(path):
    selector = fs.FileSelector(f"{BUCKET}/{path}", recursive=True)
    return [entry for entry in s3.get_file_info(selector) if entry.type == fs.FileType.File]


with check("create_dir makes a bucket"):
    s3.create_dir(BUCKET)
    equal(s3.get_file_info(BUCKET).type, fs.FileType.Directory)

for name, length in SIZES.items():
    with check(f"a stream there and back: {name}"):
        back = scratch("sizes") / name
        write(f"sizes/{name}", sized_files() / name)
        equal(s3.get_file_info(f"{BUCKET}/sizes/{name}").size, length)
        read(f"sizes/{name}", back)
        same_file(sized_files() / name, back)
        back.unlink()

with check("random access to a large object"):
    whole = (sized_files() / "big").read_bytes()
    draw = random.Random("pyarrow")
    with s3.open_input_file(f"{BUCKET}/sizes/big") as file:
        equal(file.size(), len(whole))
        for _ in range(30):
            start, length = draw.randrange(len(whole)), draw.choice([1, 4096, 70000])
            equal(
                file.read_at(length, start), whole[start : start + length], f"{length} at {start}"
            )
    del whole

with check("odd names come back as they were"):
    for name in NAMES:
        write(f"names/{name}", named_files() / name)
    found = [entry.path.removeprefix(f"{BUCKET}/names/") for entry in listed("names")]
    equal(sorted(found), sorted(NAMES))
    for name in NAMES:
        with s3.open_input_stream(f"{BUCKET}/names/{name}") as file:
            equal(file.read(), (named_files() / name).read_bytes(), name)

with check("a tree of 2,000 files is copied, and found unchanged"):
    fs.copy_files(
        str(tree_files()),
        f"{BUCKET}/tree",
        source_filesystem=fs.LocalFileSystem(),
        destination_filesystem=s3,
    )
    files = {
        str(path.relative_to(tree_files())): path
        for path in tree_files().rglob("*")
        if path.is_file()
    }
    found = {entry.path.removeprefix(f"{BUCKET}/tree/"): entry.size for entry in listed("tree")}
    # What a sync would transfer: names or sizes that differ.
    equal({name: path.stat().st_size for name, path in files.items()}, found, "the listing")

with check("the tree copied back is the same"):
    back = scratch("tree")
    fs.copy_files(
        f"{BUCKET}/tree",
        str(back),
        source_filesystem=s3,
        destination_filesystem=fs.LocalFileSystem(),
    )
    same_tree(tree_files(), back)

with check("a partitioned Parquet data set is written, read and filtered"):
    rows = 300_000
    table = pyarrow.table(
        {
            "part": [f"p{number % 5}" for number in range(rows)],
            "number": list(range(rows)),
            "text": [f"row {number * 7919 % rows}" for number in range(rows)],
        }
    )
    pyarrow.dataset.write_dataset(
        table,
        f"{BUCKET}/data",
        filesystem=s3,
        format="parquet",
        partitioning=["part"],
        partitioning_flavor="hive",
    )
    data = pyarrow.dataset.dataset(
        f"{BUCKET}/data", filesystem=s3, format="parquet", partitioning="hive"
    )
    equal(data.count_rows(), rows)
    found = data.to_table(filter=pyarrow.compute.field("part") == "p3", columns=["number"])
    equal(sorted(found["number"].to_pylist()), list(range(3, rows, 5)))

with check("metadata, copy and move"):
    with s3.open_output_stream(f"{BUCKET}/typed", metadata={"Content-Type": "text/x-typed"}) as out:
        out.write(b"typed")
    with s3.open_input_stream(f"{BUCKET}/typed") as file:
        equal(file.metadata()["Content-Type"], b"text/x-typed")
    s3.copy_file(f"{BUCKET}/typed", f"{BUCKET}/copied")
    s3.move(f"{BUCKET}/copied", f"{BUCKET}/moved to here")
    with s3.open_input_stream(f"{BUCKET}/moved to here") as file:
        equal(file.read(), b"typed")
    equal(s3.get_file_info(f"{BUCKET}/copied").type, fs.FileType.NotFound)

with check("delete_dir leaves nothing"):
    s3.delete_dir_contents(BUCKET)
    equal(listed(""), [], "files left")
    s3.delete_dir(BUCKET)
    equal(s3.get_file_info(BUCKET).type, fs.FileType.NotFound)

done()
