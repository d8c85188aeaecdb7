"""The AWS command line (version 1): cp, sync, ls, rm, and what people script of s3api."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

from scenario import *

AWS = Path(sys.executable).parent / "aws"
BUCKET = bucket("aws")
S3 = f"s3://{BUCKET}"
os.environ["AWS_CONFIG_FILE"] = str(WORK / "config")


def aws(*arguments):
    return run(AWS, "--endpoint-url", ENDPOINT, *arguments)


def api(*arguments):
    text = run(AWS, "--endpoint-url", ENDPOINT, "--output", "json", "s3api", *arguments)
    return json.loads(text) if text.strip() else {}


with check("mb makes a bucket that ls shows"):
    aws("s3", "mb", S3)
    assert BUCKET in aws("s3", "ls"), "the bucket is not listed"
    assert api("get-bucket-location", "--bucket", BUCKET) is not None

for name, length in SIZES.items():
    with check(f"cp there and back: {name}"):
        source, back = sized_files() / name, scratch("sizes") / name
        aws("s3", "cp", "--quiet", source, f"{S3}/sizes/{name}")
        equal(
            api("head-object", "--bucket", BUCKET, "--key", f"sizes/{name}")["ContentLength"],
            length,
        )
        aws("s3", "cp", "--quiet", f"{S3}/sizes/{name}", back)
        same_file(source, back)

with check("cp from standard input and to standard output"):
    command, source = [
        AWS,
        "--endpoint-url",
        ENDPOINT,
        "s3",
        "cp",
    ], sized_files() / "five-mib-and-one"
    with open(source, "rb") as file:
        run(*command, "-", f"{S3}/piped", stdin=file)
    piped = subprocess.run([*command, f"{S3}/piped", "-"], stdout=subprocess.PIPE, check=True)
    equal(piped.stdout, source.read_bytes(), "what came back")

with check("odd names come back as they were"):
    back = scratch("names")
    aws("s3", "cp", "--quiet", "--recursive", named_files(), f"{S3}/names/")
    aws("s3", "cp", "--quiet", "--recursive", f"{S3}/names/", back)
    same_tree(named_files(), back)

with check("odd names are listed as they are"):
    listed = api("list-objects-v2", "--bucket", BUCKET, "--prefix", "names/")["Contents"]
    equal(sorted(entry["Key"] for entry in listed), sorted(f"names/{name}" for name in NAMES))

with check("a key with a leading slash and one with empty segments are keys of their own"):
    keys, body = ["/leading.bin", "leading.bin", "a//b", "a/b"], WORK / "body"
    for key in keys:
        body.write_bytes(content(key, 50))
        api("put-object", "--bucket", BUCKET, "--key", key, "--body", body)
    for key in keys:
        api("get-object", "--bucket", BUCKET, "--key", key, body)
        equal(body.read_bytes(), content(key, 50), key)

with check("sync of a tree of 2,000 files"):
    aws("s3", "sync", "--quiet", tree_files(), f"{S3}/tree/")
    equal(
        len(aws("s3", "ls", "--recursive", f"{S3}/tree/").splitlines()), TREE_FILES, "files listed"
    )

with check("sync again transfers nothing"):
    equal(
        aws("s3", "sync", "--no-progress", tree_files(), f"{S3}/tree/").strip(), "", "what it did"
    )

with check("sync down gives the same tree"):
    back = scratch("tree")
    aws("s3", "sync", "--quiet", f"{S3}/tree/", back)
    same_tree(tree_files(), back)

with check("cp and mv on the server's side"):
    aws("s3", "cp", "--quiet", f"{S3}/sizes/five-mib-and-one", f"{S3}/copied")
    aws("s3", "mv", "--quiet", f"{S3}/copied", f"{S3}/moved")
    aws("s3", "cp", "--quiet", f"{S3}/moved", WORK / "moved")
    same_file(WORK / "moved", sized_files() / "five-mib-and-one")
    assert "copied" not in aws("s3", "ls", f"{S3}/"), "the source of a move is still there"

with check("cp of 200 MiB on the server's side is made of copied parts"):
    aws("s3", "cp", "--quiet", f"{S3}/sizes/big", f"{S3}/big-copy")
    aws("s3", "cp", "--quiet", f"{S3}/big-copy", WORK / "big-copy")
    same_file(WORK / "big-copy", sized_files() / "big")
    (WORK / "big-copy").unlink()

with check("presign gives an address that works without a credential"):
    # Version 1 still presigns with SigV2 unless told otherwise, and SigV2 is off.
    run(AWS, "configure", "set", "default.s3.signature_version", "s3v4")
    address = aws("s3", "presign", f"{S3}/sizes/one-byte").strip()
    equal(urlopen(address, timeout=60).read(), content("one-byte", 1))

with check("rm --recursive leaves an empty bucket, and rb removes it"):
    aws("s3", "rm", "--quiet", "--recursive", S3)
    equal(api("list-objects-v2", "--bucket", BUCKET).get("KeyCount", 0), 0, "objects left")
    aws("s3", "rb", S3)
    assert BUCKET not in aws("s3", "ls"), "the bucket is still listed"

done()
