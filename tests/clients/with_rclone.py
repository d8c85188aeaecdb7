"""rclone: copy, sync, check, move and purge, in one part and in several."""

import json
import os
import subprocess

from scenario import *

BUCKET = bucket("rclone")
REMOTE = f"havre:{BUCKET}"
os.environ.update(
    {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_HAVRE_TYPE": "s3",
        "RCLONE_CONFIG_HAVRE_PROVIDER": "Other",
        "RCLONE_CONFIG_HAVRE_ENV_AUTH": "true",
        "RCLONE_CONFIG_HAVRE_ENDPOINT": ENDPOINT,
        "RCLONE_CONFIG_HAVRE_REGION": REGION,
    }
)


def rclone(*arguments):
    # One try: what a retry would hide is what this looks for.
    return run("rclone", "--retries", "1", "--low-level-retries", "1", *arguments)


with check("mkdir makes a bucket that lsd shows"):
    rclone("mkdir", REMOTE)
    assert BUCKET in rclone("lsd", "havre:"), "the bucket is not listed"

for name, length in SIZES.items():
    with check(f"copy there and back: {name}"):
        back = scratch("sizes") / name
        rclone("copyto", sized_files() / name, f"{REMOTE}/sizes/{name}")
        equal(json.loads(rclone("size", "--json", f"{REMOTE}/sizes/{name}"))["bytes"], length)
        rclone("copyto", f"{REMOTE}/sizes/{name}", back)
        same_file(sized_files() / name, back)
        back.unlink()

with check("copy of 200 MiB in parts, and a check of every byte"):
    cut = ["--s3-upload-cutoff", "20M", "--s3-chunk-size", "8M"]
    rclone("copy", *cut, sized_files(), f"{REMOTE}/parts/")
    rclone("check", "--download", sized_files(), f"{REMOTE}/parts/")

with check("odd names come back as they were"):
    back = scratch("names")
    rclone("copy", named_files(), f"{REMOTE}/names/")
    equal(
        sorted(rclone("lsf", "-R", "--files-only", f"{REMOTE}/names/").splitlines()), sorted(NAMES)
    )
    rclone("copy", f"{REMOTE}/names/", back)
    same_tree(named_files(), back)

with check("sync of a tree of 2,000 files"):
    rclone("sync", "--transfers", "8", "--checkers", "8", tree_files(), f"{REMOTE}/tree/")
    equal(
        json.loads(rclone("size", "--json", f"{REMOTE}/tree/"))["count"], TREE_FILES, "files listed"
    )

with check("sync again transfers nothing"):
    said = rclone("sync", "-v", "--stats", "0", tree_files(), f"{REMOTE}/tree/")
    equal(
        [line for line in said.splitlines() if "Copied" in line or "Updated" in line],
        [],
        "what it did",
    )

with check("check finds no difference, and sync down gives the same tree"):
    rclone("check", tree_files(), f"{REMOTE}/tree/")
    back = scratch("tree")
    rclone("sync", "--transfers", "8", f"{REMOTE}/tree/", back)
    same_tree(tree_files(), back)

with check("move on the server's side"):
    rclone("moveto", f"{REMOTE}/sizes/five-mib-and-one", f"{REMOTE}/moved to/here")
    equal(rclone("lsf", f"{REMOTE}/sizes/").split(), sorted(set(SIZES) - {"five-mib-and-one"}))
    rclone("copyto", f"{REMOTE}/moved to/here", WORK / "moved")
    same_file(WORK / "moved", sized_files() / "five-mib-and-one")

with check("cat of a range"):
    command = ["rclone", "cat", "--offset", "100000", "--count", "500", f"{REMOTE}/sizes/big"]
    with open(sized_files() / "big", "rb") as file:
        file.seek(100000)
        equal(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout, file.read(500))

with check("purge leaves nothing"):
    rclone("purge", "--checkers", "8", REMOTE)
    assert BUCKET not in rclone("lsd", "havre:"), "the bucket is still listed"

done()
