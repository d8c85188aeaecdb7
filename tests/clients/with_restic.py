"""restic: a backup repository, from init to prune."""

import json
import os
import shutil
import subprocess

from scenario import *

BUCKET = bucket("restic")
os.environ.update(
    {
        "RESTIC_REPOSITORY": f"s3:{ENDPOINT}/{BUCKET}/repository",
        "RESTIC_PASSWORD": "a password of the test",
        "RESTIC_CACHE_DIR": str(WORK / "cache"),
    }
)


def restic(*arguments):
    return run("restic", "-o", f"s3.region={REGION}", *arguments)


def snapshots():
    return [entry["short_id"] for entry in json.loads(restic("snapshots", "--json"))]


SOURCE = WORK / "source"

with check("init"):
    restic("init")

with check("backup of all sizes, odd names and a tree"):
    SOURCE.mkdir()
    for folder in [sized_files(), named_files(), tree_files()]:
        shutil.copytree(folder, SOURCE / folder.name)
    restic("backup", "--host", "scenario", SOURCE)
    equal(len(snapshots()), 1, "snapshots")

with check("check --read-data"):
    assert "no errors were found" in restic("check", "--read-data")

with check("a second backup of the same files adds no data"):
    said = restic("backup", "--host", "scenario", "--json", SOURCE)
    summary = json.loads(said.strip().splitlines()[-1])
    equal(
        (summary["files_new"], summary["files_changed"], summary["data_blobs"]),
        (0, 0, 0),
        "what it added",
    )

with check("restore gives the same files"):
    back = scratch("back")
    restic("restore", "latest", "--target", back)
    same_tree(SOURCE, back / SOURCE.relative_to("/"))
    shutil.rmtree(back)

with check("dump of one file"):
    path = SOURCE / "sizes" / "five-mib-and-one"
    command = ["restic", "-q", "dump", "latest", str(path)]
    equal(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout, path.read_bytes())

with check("forget and prune, and the repository is still whole"):
    (SOURCE / "sizes" / "big").unlink()
    restic("backup", "--host", "scenario", SOURCE)
    equal(len(snapshots()), 3, "snapshots")
    restic("forget", "--keep-last", "1", "--prune", "--max-unused", "0")
    equal(len(snapshots()), 1, "snapshots after forget")
    assert "no errors were found" in restic("check", "--read-data")
    back = scratch("back")
    restic("restore", "latest", "--target", back)
    same_tree(SOURCE, back / SOURCE.relative_to("/"))

with check("the locks are gone"):
    equal(restic("list", "locks", "--no-lock").strip(), "", "locks left")

done()
