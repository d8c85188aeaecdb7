"""s3cmd: put, get, sync, ls, info, del, with its own check of every ETag it takes for an MD5."""

import re
import sys
from pathlib import Path

from scenario import *

BUCKET = bucket("s3cmd")
S3 = f"s3://{BUCKET}"
CONFIG = WORK / "s3cfg"
HOST = ENDPOINT.split("//")[1]
CONFIG.write_text(f"""[default]
access_key = {ACCESS_KEY}
secret_key = {SECRET_KEY}
host_base = {HOST}
host_bucket = {HOST}
bucket_location = {REGION}
use_https = False
signature_v2 = False
max_retries = 1
""")


def s3cmd(*arguments):
    program = Path(sys.executable).parent / "s3cmd"
    return run(sys.executable, program, "-c", CONFIG, "--no-progress", *arguments)


with check("mb makes a bucket that ls shows"):
    s3cmd("mb", S3)
    assert S3 in s3cmd("ls"), "the bucket is not listed"

for name, length in SIZES.items():
    with check(f"put and get: {name}"):
        back = scratch("sizes") / name
        s3cmd("put", sized_files() / name, f"{S3}/sizes/{name}")
        assert re.search(rf"File size:\s+{length}\b", s3cmd("info", f"{S3}/sizes/{name}"))
        said = s3cmd("get", f"{S3}/sizes/{name}", back)
        assert "WARNING" not in said, said
        same_file(sized_files() / name, back)
        back.unlink()

with check("odd names come back as they were"):
    back = scratch("names")
    s3cmd("put", "--recursive", f"{named_files()}/", f"{S3}/names/")
    listed = [
        line.split(f"{S3}/names/", 1)[1] for line in s3cmd("ls", "-r", f"{S3}/names/").splitlines()
    ]
    equal(sorted(name.strip() for name in listed), sorted(name.strip() for name in NAMES))
    s3cmd("get", "--recursive", f"{S3}/names/", f"{back}/")
    same_tree(named_files(), back)

with check("sync of a tree of 2,000 files"):
    s3cmd("sync", f"{tree_files()}/", f"{S3}/tree/")
    equal(len(s3cmd("ls", "-r", f"{S3}/tree/").splitlines()), TREE_FILES, "files listed")

with check("sync again transfers nothing"):
    said = s3cmd("sync", f"{tree_files()}/", f"{S3}/tree/")
    equal([line for line in said.splitlines() if "upload:" in line], [], "what it did")

with check("cp, mv and metadata on the server's side"):
    s3cmd("cp", f"{S3}/sizes/five-mib-and-one", f"{S3}/copied")
    s3cmd("mv", f"{S3}/copied", f"{S3}/moved to here")
    s3cmd("modify", "--add-header=x-amz-meta-colour:blue", f"{S3}/moved to here")
    said = s3cmd("info", f"{S3}/moved to here")
    assert re.search(r"x-amz-meta-colour:\s+blue", said), said
    s3cmd("get", "--force", f"{S3}/moved to here", WORK / "moved")
    same_file(WORK / "moved", sized_files() / "five-mib-and-one")

with check("del --recursive leaves an empty bucket, and rb removes it"):
    s3cmd("del", "--recursive", "--force", S3)
    equal(s3cmd("ls", "-r", S3).strip(), "", "objects left")
    s3cmd("rb", S3)
    assert S3 not in s3cmd("ls"), "the bucket is still listed"

done()
