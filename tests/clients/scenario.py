"""What the client scenarios share: checks, test files, names, and how to run a program.

A scenario is a sequence of checks. Each prints `ok <name>` or `FAIL <name>: <reason>`; the process
ends with 1 when one failed. A check that fails does not stop those after it, so that one run shows
all that is wrong.

Environment: S3_ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, SCENARIO_WORK (an empty folder
of
this run's own), SCENARIO_DATA (test files, shared by all scenarios), SCENARIO_MODE (part of the
bucket's name, and what the log says).
"""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path

ENDPOINT = os.environ["S3_ENDPOINT"]
ACCESS_KEY = os.environ["AWS_ACCESS_KEY_ID"]
SECRET_KEY = os.environ["AWS_SECRET_ACCESS_KEY"]
REGION = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
MODE = os.environ.get("SCENARIO_MODE", "healthy")
WORK = Path(os.environ["SCENARIO_WORK"])
DATA = Path(os.environ["SCENARIO_DATA"])

MIB = 1024 * 1024
SIZES = {"empty": 0, "one-byte": 1, "five-mib-and-one": 5 * MIB + 1, "big": 200 * MIB}
TREE_FILES = 2000
COMMAND_SECONDS_MAX = 600

# Names that a client may send as a file's name. Each must come back as it was, and none may be
# taken for another: `a%2Fb` is not `a/b`, `plus+sign` is not `plus sign`.
NAMES = [
    "with space.bin",
    " leading and trailing ",
    "plus+sign.bin",
    "plus sign.bin",
    "unicode-žluťoučký-漢字-🚢.bin",
    "folder/plain.bin",
    "folder%2Fplain.bin",
    "folder%252Fplain.bin",
    "percent%20space.bin",
    "question?mark=1&hash#tag.bin",
    "semi;colon,comma@at$dollar!bang.bin",
    "quote'single-and-(round)-[square]-{curly}.bin",
    "tilde~star*pipe|caret^.bin",
    "..two-dots/...three/dot.",
    "deep/er/and/deep/er/still.bin",
]

_failed = []


class check:
    """One check: `with check("name"):` passes unless the block raises."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.start = time.monotonic()
        return self

    def __exit__(self, kind, error, trace):
        took = time.monotonic() - self.start
        if error is None:
            print(f"ok {self.name} ({took:.1f} s)", flush=True)
            return True
        if not isinstance(error, Exception):
            return False
        reason = " ".join(str(error).split())[:700] or kind.__name__
        if not isinstance(error, AssertionError):
            reason = f"{kind.__name__}: {reason}"
        where = traceback.extract_tb(trace)[0]
        print(f"FAIL {self.name}: {reason} (line {where.lineno})", flush=True)
        _failed.append(self.name)
        return True


def skip(name, reason):
    """A check that this client cannot make."""
    print(f"skip {name}: {reason}", flush=True)


def done():
    """Ends the scenario."""
    sys.exit(1 if _failed else 0)


def equal(actual, expected, what="value"):
    """Fails unless both are the same, and shows both."""
    if actual != expected:
        shown = [repr(side)[:400] for side in (actual, expected)]
        raise AssertionError(f"{what} is {shown[0]}, expected {shown[1]}")


def run(*command, **options):
    """Runs a program to its end; what it printed, or an error that holds it."""
    command = [str(part) for part in command]
    options.setdefault("timeout", COMMAND_SECONDS_MAX)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    if done.returncode != 0:
        raise AssertionError(
            f"{' '.join(command)[:200]} ended {done.returncode}: {done.stdout[-400:]}"
        )
    return done.stdout


def content(name, length):
    """`length` bytes that depend on `name` alone."""
    return random.Random(name).randbytes(length)


def digest(path):
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def same_file(left, right):
    """Fails unless two files hold the same bytes."""
    equal(os.path.getsize(left), os.path.getsize(right), "size")
    equal(digest(left), digest(right), "SHA-256")


def files_of(root):
    """Every file below `root`: relative path to SHA-256."""
    root = Path(root)
    return {str(path.relative_to(root)): digest(path) for path in root.rglob("*") if path.is_file()}


def same_tree(left, right):
    """Fails unless two folders hold the same files."""
    left, right = files_of(left), files_of(right)
    equal(sorted(left), sorted(right), "the list of files")
    equal(left, right, "the files' digests")


def _once(folder, fill):
    """A folder of test files, made whole or not at all."""
    if not folder.exists():
        partial = folder.with_suffix(f".{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        fill(partial)
        partial.rename(folder)
    return folder


def sized_files():
    """The folder of one file for each entry of SIZES."""

    def fill(folder):
        for name, length in SIZES.items():
            (folder / name).write_bytes(content(name, length))

    return _once(DATA / "sizes", fill)


def named_files():
    """The folder of one small file for each entry of NAMES."""

    def fill(folder):
        for name in NAMES:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(name, 100))

    return _once(DATA / "names", fill)


def tree_files():
    """A folder of TREE_FILES small files, three levels deep."""

    def fill(folder):
        for number in range(TREE_FILES):
            path = folder / f"d{number % 7}" / f"e{number % 31}" / f"file-{number:04}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(f"tree-{number}", 37 * (number % 100)))

    return _once(DATA / "tree", fill)


def scratch(name):
    """A new empty folder of this scenario."""
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def bucket(client):
    """The name of the bucket that a client's scenario makes."""
    return f"{client}-{MODE}"
