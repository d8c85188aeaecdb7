"""boto3, the client most programs use: the operations of the S3 core, as AWS documents them."""

import base64
import concurrent.futures
import hashlib
import hmac
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
import zlib
from datetime import datetime, timedelta, timezone
from email.header import decode_header, make_header

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError

from scenario import *

BUCKET = bucket("boto3")
PART = 5 * MIB


def connect(**config):
    attempts = int(os.environ.get("AWS_MAX_ATTEMPTS", "3"))
    retries = {"mode": "standard", "total_max_attempts": attempts}
    config = Config(signature_version="s3v4", retries=retries, **config)
    return boto3.client(
        "s3",
        endpoint_url=ENDPOINT,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name=REGION,
        config=config,
    )


s3 = connect(max_pool_connections=16)


def refused(code, call, *arguments, status=None, **parameters):
    """Fails unless the call is answered with this error code (or one of these)."""
    codes = [code] if isinstance(code, str) else list(code)
    try:
        call(*arguments, **parameters)
    except ClientError as error:
        answer = error.response
        assert answer["Error"]["Code"] in codes, f"{answer['Error']}, expected {codes}"
        if status is not None:
            equal(answer["ResponseMetadata"]["HTTPStatusCode"], status, "status")
        return answer
    raise AssertionError(f"was accepted, expected {codes}")


def put(key, body=b"", **parameters):
    return s3.put_object(Bucket=BUCKET, Key=key, Body=body, **parameters)


def body_of(key, **parameters):
    return s3.get_object(Bucket=BUCKET, Key=key, **parameters)["Body"].read()


def crc_reflected(polynomial, width, data):
    """A CRC by its definition, bit by bit: an oracle that shares no code with anybody."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        table.append(value)
    ones = (1 << width) - 1
    crc = ones
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return (crc ^ ones).to_bytes(width // 8, "big")


DIGESTS = {
    "CRC32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "CRC32C": lambda data: crc_reflected(0x82F63B78, 32, data),
    "CRC64NVME": lambda data: crc_reflected(0x9A6C9329AC4BC9B5, 64, data),
    "SHA1": lambda data: hashlib.sha1(data).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
}


def b64(data):
    return base64.b64encode(data).decode()


def raw(method, path, query="", headers=(), body=b"", sign=True):
    """One signed request whose path and headers are sent byte for byte. Status, headers, body."""
    address = urllib.parse.urlsplit(ENDPOINT)
    now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    sent = {
        "host": address.netloc.encode(),
        "x-amz-date": now.encode(),
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest().encode(),
    }
    sent.update({name: value.encode() for name, value in headers})
    names = ";".join(sorted(sent))
    lines = b"".join(name.encode() + b":" + sent[name] + b"\n" for name in sorted(sent))
    canonical = f"{method}\n{path}\n{query}\n".encode() + lines
    canonical += b"\n" + names.encode() + b"\n" + sent["x-amz-content-sha256"]
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"
    key = ("AWS4" + SECRET_KEY).encode()
    for step in [now[:8], REGION, "s3", "aws4_request", text]:
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    if sign:
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, "
            f"SignedHeaders={names}, Signature={key.hex()}"
        ).encode()
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    connection.putrequest(
        method, path + ("?" + query if query else ""), skip_host=True, skip_accept_encoding=True
    )
    for name, value in sent.items():
        connection.putheader(name, value)
    connection.putheader("content-length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    result = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    connection.close()
    return result


def upload(key, sizes, **parameters):
    """A multipart upload of parts of these sizes. Its id, its parts, its bytes."""
    started = s3.create_multipart_upload(Bucket=BUCKET, Key=key, **parameters)["UploadId"]
    parts, whole = [], b""
    for number, size in enumerate(sizes, 1):
        body = content(f"{key}-{number}", size)
        answer = s3.upload_part(
            Bucket=BUCKET, Key=key, UploadId=started, PartNumber=number, Body=body
        )
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        whole += body
    return started, parts, whole


def complete(key, started, parts, **parameters):
    return s3.complete_multipart_upload(
        Bucket=BUCKET, Key=key, UploadId=started, MultipartUpload={"Parts": parts}, **parameters
    )


# --- buckets

with check("a bucket is made, listed, located, and not made twice over"):
    s3.create_bucket(Bucket=BUCKET)
    s3.head_bucket(Bucket=BUCKET)
    assert BUCKET in [entry["Name"] for entry in s3.list_buckets()["Buckets"]]
    s3.get_bucket_location(Bucket=BUCKET)

with check("buckets that are not there, not empty or not well named are refused"):
    refused("NoSuchBucket", s3.list_objects_v2, Bucket="no-such-bucket-here", status=404)
    refused("NoSuchBucket", s3.put_object, Bucket="no-such-bucket-here", Key="k", status=404)
    refused("NoSuchBucket", s3.delete_bucket, Bucket="no-such-bucket-here", status=404)
    refused("404", s3.head_bucket, Bucket="no-such-bucket-here", status=404)
    status, _, body = raw("PUT", "/Not_A_Bucket_Name")
    equal(status, 400, "status of a bad name")
    assert b"InvalidBucketName" in body, body

# --- sizes

for name, length in SIZES.items():
    with check(f"upload_file and download_file: {name}"):
        source, back = sized_files() / name, scratch("sizes") / name
        s3.upload_file(str(source), BUCKET, f"sizes/{name}")
        equal(s3.head_object(Bucket=BUCKET, Key=f"sizes/{name}")["ContentLength"], length)
        s3.download_file(BUCKET, f"sizes/{name}", str(back))
        same_file(source, back)
        back.unlink()

with check("put_object of 5 MiB and 1 byte in one request"):
    source = sized_files() / "five-mib-and-one"
    with open(source, "rb") as file:
        put("single", file)
    equal(body_of("single"), source.read_bytes(), "what came back")

with check("an overwritten object has the new bytes and the new ETag"):
    first, second = put("over", b"first")["ETag"], put("over", b"second")["ETag"]
    assert first != second, "the ETag did not change"
    equal(body_of("over"), b"second")
    equal(s3.head_object(Bucket=BUCKET, Key="over")["ETag"], second, "ETag")

with check("a deleted object is gone, and deleting it again is no error"):
    put("gone", b"x")
    s3.delete_object(Bucket=BUCKET, Key="gone")
    refused("NoSuchKey", s3.get_object, Bucket=BUCKET, Key="gone", status=404)
    refused("404", s3.head_object, Bucket=BUCKET, Key="gone", status=404)
    s3.delete_object(Bucket=BUCKET, Key="gone")

# --- names

KEYS = NAMES + [
    "/leading",
    "leading",
    "a//b",
    "a/b",
    "trailing/",
    "trailing",
    "a%2Fb",
    "back\\slash",
    "new\nline",
    "tab\there",
    "control\x01char",
    "<xml>&amp;",
    "k" * 1024,
]

with check("odd keys come back as they were"):
    for key in KEYS:
        put(key, content(key, 64))
    for key in KEYS:
        equal(body_of(key), content(key, 64), repr(key[:40]))

with check("odd keys are listed as they are, in the order of their bytes"):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    listed = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    equal([key for key in listed if key in KEYS], sorted(KEYS, key=str.encode))

with check("odd keys are deleted one by one"):
    for key in KEYS:
        s3.delete_object(Bucket=BUCKET, Key=key)
    equal(s3.list_objects_v2(Bucket=BUCKET, Prefix="folder").get("KeyCount"), 0, "keys left")

with check("keys that are too long are refused"):
    refused("KeyTooLongError", put, "k" * 1025, status=400)
    refused("KeyTooLongError", put, "é" * 513, status=400)

# --- metadata

with check("user and system metadata come back"):
    system = {
        "ContentType": "text/x-test; charset=utf-8",
        "CacheControl": "max-age=7",
        "ContentDisposition": 'attachment; filename="a b.txt"',
        "ContentEncoding": "x-none",
        "ContentLanguage": "cs",
        "Expires": datetime(2031, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    }
    user = {"plain": "value", "empty": "", "spaced": "two  words", "mixed-case": "KeepsCase"}
    put("meta", b"m", Metadata=user, **system)
    for answer in [
        s3.head_object(Bucket=BUCKET, Key="meta"),
        s3.get_object(Bucket=BUCKET, Key="meta"),
    ]:
        equal(answer["Metadata"], user, "user metadata")
        for name, value in system.items():
            equal(answer[name], value, name)

with check("an object without a declared type is binary/octet-stream"):
    status, _, _ = raw("PUT", f"/{BUCKET}/typeless", body=b"t")
    equal(status, 200, "status")
    equal(s3.head_object(Bucket=BUCKET, Key="typeless")["ContentType"], "binary/octet-stream")

with check("user metadata that is not ASCII comes back, sent raw or by RFC 2047"):
    word = "žluťoučký 漢字 🚢"
    encoded = "=?UTF-8?B?" + b64(word.encode()) + "?="
    for way, value in [("raw", word), ("rfc-2047", encoded)]:
        status, _, body = raw(
            "PUT", f"/{BUCKET}/meta-{way}", headers=[("x-amz-meta-word", value)], body=b"m"
        )
        equal(status, 200, f"status of {way}: {body[:200]}")
        _, headers, _ = raw("HEAD", f"/{BUCKET}/meta-{way}")
        back = headers.get("x-amz-meta-word", "")
        decoded = str(make_header(decode_header(back))) if back.startswith("=?") else back
        plain = back.encode("latin-1", "replace").decode("utf-8", "replace")
        assert word in (decoded, plain), f"{way}: {back!r}"

with check("metadata above 2 KiB is refused"):
    refused("MetadataTooLarge", put, "meta-big", Metadata={"k": "v" * 2049}, status=400)

# --- ranges

with check("ranges of all three forms, and one that cannot be satisfied"):
    body = content("ranged", 300_001)
    put("ranged", body)
    for asked, expected in [
        ("bytes=0-0", body[:1]),
        ("bytes=5-9", body[5:10]),
        ("bytes=65530-65545", body[65530:65546]),
        ("bytes=299990-", body[299990:]),
        ("bytes=-7", body[-7:]),
        ("bytes=-999999", body),
        ("bytes=100-99999999", body[100:]),
    ]:
        answer = s3.get_object(Bucket=BUCKET, Key="ranged", Range=asked)
        equal(answer["Body"].read(), expected, asked)
        equal(answer["ResponseMetadata"]["HTTPStatusCode"], 206, asked)
        assert answer["ContentRange"].endswith("/300001"), answer["ContentRange"]
    refused(
        "InvalidRange",
        s3.get_object,
        Bucket=BUCKET,
        Key="ranged",
        Range="bytes=300001-",
        status=416,
    )
    put("zero", b"")
    refused("InvalidRange", s3.get_object, Bucket=BUCKET, Key="zero", Range="bytes=0-0", status=416)
    equal(body_of("ranged", Range="bytes=9-5"), body, "a range that runs backwards is ignored")

with check("ranges of a large object in many places"):
    whole = (sized_files() / "big").read_bytes()
    draw = random.Random("ranges")
    for _ in range(40):
        start = draw.randrange(len(whole))
        end = min(len(whole), start + draw.choice([1, 100, 65536, 3 * MIB])) - 1
        equal(
            body_of("sizes/big", Range=f"bytes={start}-{end}"),
            whole[start : end + 1],
            f"{start}-{end}",
        )
    del whole

# --- conditions

with check("conditional reads"):
    answer = put("cond", b"c")
    etag = answer["ETag"]
    modified = s3.head_object(Bucket=BUCKET, Key="cond")["LastModified"]
    earlier, later = modified - timedelta(hours=1), modified + timedelta(seconds=1)
    equal(body_of("cond", IfMatch=etag), b"c")
    equal(body_of("cond", IfNoneMatch='"other"'), b"c")
    equal(body_of("cond", IfModifiedSince=earlier), b"c")
    equal(body_of("cond", IfUnmodifiedSince=later), b"c")
    for call, codes in [(s3.get_object, ("PreconditionFailed",)), (s3.head_object, ("412",))]:
        refused(codes, call, Bucket=BUCKET, Key="cond", IfMatch='"other"', status=412)
        refused(codes, call, Bucket=BUCKET, Key="cond", IfUnmodifiedSince=earlier, status=412)
    for call in [s3.get_object, s3.head_object]:
        refused(
            ("304", "NotModified"), call, Bucket=BUCKET, Key="cond", IfNoneMatch=etag, status=304
        )
        refused(
            ("304", "NotModified"),
            call,
            Bucket=BUCKET,
            Key="cond",
            IfModifiedSince=modified,
            status=304,
        )
    equal(
        body_of("cond", IfMatch=etag, IfUnmodifiedSince=earlier),
        b"c",
        "If-Match goes before the date",
    )

with check("conditional writes: If-None-Match"):
    put("once", b"1", IfNoneMatch="*")
    refused("PreconditionFailed", put, "once", b"2", IfNoneMatch="*", status=412)
    equal(body_of("once"), b"1")
    s3.delete_object(Bucket=BUCKET, Key="once")
    put("once", b"3", IfNoneMatch="*")

with check("conditional writes: If-Match"):
    first = put("swap", b"1")["ETag"]
    second = put("swap", b"2", IfMatch=first)["ETag"]
    refused("PreconditionFailed", put, "swap", b"3", IfMatch=first, status=412)
    put("swap", b"4", IfMatch=second)
    equal(body_of("swap"), b"4")
    refused("NoSuchKey", put, "swap-absent", b"1", IfMatch=first, status=404)

with check("of many conditional creations at once one wins"):

    def attempt(number):
        try:
            put("race", str(number).encode(), IfNoneMatch="*")
            return number
        except ClientError as error:
            assert error.response["Error"]["Code"] in (
                "PreconditionFailed",
                "ConditionalRequestConflict",
            )
            return None

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        won = [number for number in pool.map(attempt, range(24)) if number is not None]
    equal(len(won), 1, "winners")
    equal(body_of("race"), str(won[0]).encode())

# --- presigned addresses

with check("presigned GET and PUT work without a credential"):

    def presigned(operation, **parameters):
        return s3.generate_presigned_url(
            operation, Params={"Bucket": BUCKET, **parameters}, ExpiresIn=60
        )

    body = content("presigned", 100_000)
    address = presigned("put_object", Key="pre signed/é+%2F", ContentType="text/plain")
    request = urllib.request.Request(
        address, data=body, method="PUT", headers={"Content-Type": "text/plain"}
    )
    equal(urllib.request.urlopen(request, timeout=60).status, 200)
    address = presigned(
        "get_object",
        Key="pre signed/é+%2F",
        ResponseContentType="application/x-asked",
        ResponseContentDisposition="inline",
    )
    answer = urllib.request.urlopen(address, timeout=60)
    equal(answer.read(), body, "what came back")
    equal(answer.headers["Content-Type"], "application/x-asked")
    equal(answer.headers["Content-Disposition"], "inline")

with check("an altered presigned address is refused"):
    address = presigned("get_object", Key="cond").replace("/cond?", "/over?")
    try:
        urllib.request.urlopen(address, timeout=60)
        raise AssertionError("was accepted")
    except urllib.error.HTTPError as error:
        equal(error.code, 403)
        assert b"SignatureDoesNotMatch" in error.read()

# --- copies

with check("copies keep or replace metadata, and a copy onto itself needs a change"):
    put("from é+", b"copied", Metadata={"kept": "yes"}, ContentType="text/x-kept")
    source = {"Bucket": BUCKET, "Key": "from é+"}
    s3.copy_object(Bucket=BUCKET, Key="to", CopySource=source)
    head = s3.head_object(Bucket=BUCKET, Key="to")
    equal((head["Metadata"], head["ContentType"]), ({"kept": "yes"}, "text/x-kept"))
    s3.copy_object(
        Bucket=BUCKET,
        Key="to",
        CopySource=source,
        MetadataDirective="REPLACE",
        Metadata={"new": "1"},
        ContentType="text/x-new",
    )
    head = s3.head_object(Bucket=BUCKET, Key="to")
    equal((head["Metadata"], head["ContentType"]), ({"new": "1"}, "text/x-new"))
    equal(body_of("to"), b"copied")
    refused(
        "InvalidRequest",
        s3.copy_object,
        Bucket=BUCKET,
        Key="to",
        CopySource={"Bucket": BUCKET, "Key": "to"},
        status=400,
    )
    s3.copy_object(
        Bucket=BUCKET,
        Key="to",
        CopySource={"Bucket": BUCKET, "Key": "to"},
        MetadataDirective="REPLACE",
        Metadata={"self": "2"},
    )
    equal(s3.head_object(Bucket=BUCKET, Key="to")["Metadata"], {"self": "2"})

with check("copies of what is not there, or under a false condition, are refused"):
    absent = {"Bucket": BUCKET, "Key": "absent"}
    refused("NoSuchKey", s3.copy_object, Bucket=BUCKET, Key="to", CopySource=absent, status=404)
    refused(
        "PreconditionFailed",
        s3.copy_object,
        Bucket=BUCKET,
        Key="to",
        CopySource=source,
        CopySourceIfMatch='"other"',
        status=412,
    )

with check("a copy of 200 MiB, and of a range of it by parts"):
    big = {"Bucket": BUCKET, "Key": "sizes/big"}
    s3.copy_object(Bucket=BUCKET, Key="big-copy", CopySource=big)
    back = WORK / "big-copy"
    s3.download_file(BUCKET, "big-copy", str(back))
    same_file(back, sized_files() / "big")
    back.unlink()
    started = s3.create_multipart_upload(Bucket=BUCKET, Key="big-parts")["UploadId"]
    parts = []
    for number, asked in enumerate([f"bytes=7-{7 + PART - 1}", "bytes=100-199"], 1):
        answer = s3.upload_part_copy(
            Bucket=BUCKET,
            Key="big-parts",
            UploadId=started,
            PartNumber=number,
            CopySource=big,
            CopySourceRange=asked,
        )
        parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
    complete("big-parts", started, parts)
    with open(sized_files() / "big", "rb") as file:
        start = file.read(7 + PART)
    equal(body_of("big-parts"), start[7:] + start[100:200], "what came back")
    s3.delete_object(Bucket=BUCKET, Key="big-copy")

# --- listings

LISTED = [f"l/{folder}/{number:02}" for folder in "abc" for number in range(20)] + [
    "l/top",
    "l-after",
]

with check("ListObjectsV2: prefix, delimiter, start-after, max-keys, continuation"):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: put(key, b"l"), LISTED))
    answer = s3.list_objects_v2(Bucket=BUCKET, Prefix="l/", Delimiter="/")
    equal([entry["Prefix"] for entry in answer["CommonPrefixes"]], ["l/a/", "l/b/", "l/c/"])
    equal([entry["Key"] for entry in answer["Contents"]], ["l/top"])
    equal((answer["KeyCount"], answer["IsTruncated"]), (4, False))
    answer = s3.list_objects_v2(Bucket=BUCKET, Prefix="l/", StartAfter="l/b/18")
    equal([entry["Key"] for entry in answer["Contents"]][:2], ["l/b/19", "l/c/00"])
    for step in [1, 7, 1000]:
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix="l", PaginationConfig={"PageSize": step}
        )
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        equal(keys, sorted(LISTED), f"pages of {step}")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix="l/", Delimiter="/", PaginationConfig={"PageSize": 1}
    )
    found = [
        entry.get("Prefix") or entry["Key"]
        for page in pages
        for entry in page.get("CommonPrefixes", []) + page.get("Contents", [])
    ]
    equal(found, ["l/a/", "l/b/", "l/c/", "l/top"], "pages of 1 with a delimiter")
    equal(s3.list_objects_v2(Bucket=BUCKET, MaxKeys=0)["KeyCount"], 0)
    refused(
        "InvalidArgument", s3.list_objects_v2, Bucket=BUCKET, ContinuationToken="forged", status=400
    )

with check("ListObjects (version 1): marker, delimiter, pages"):
    keys, marker = [], ""
    while True:
        answer = s3.list_objects(Bucket=BUCKET, Prefix="l", Marker=marker, MaxKeys=9)
        keys += [entry["Key"] for entry in answer.get("Contents", [])]
        if not answer["IsTruncated"]:
            break
        marker = keys[-1]
    equal(keys, sorted(LISTED))
    answer = s3.list_objects(Bucket=BUCKET, Prefix="l/", Delimiter="/", MaxKeys=2)
    equal(
        ([entry["Prefix"] for entry in answer["CommonPrefixes"]], answer["IsTruncated"]),
        (["l/a/", "l/b/"], True),
    )
    answer = s3.list_objects(Bucket=BUCKET, Prefix="l/", Delimiter="/", Marker=answer["NextMarker"])
    equal([entry["Prefix"] for entry in answer["CommonPrefixes"]], ["l/c/"])

with check("a listed object has the ETag and the size of its head"):
    entry = s3.list_objects_v2(Bucket=BUCKET, Prefix="cond")["Contents"][0]
    head = s3.head_object(Bucket=BUCKET, Key="cond")
    equal((entry["ETag"], entry["Size"]), (head["ETag"], head["ContentLength"]))

# --- batch delete

with check("batch delete of 1,000 keys, absent ones among them"):
    keys = LISTED + [f"absent-{number}" for number in range(1000 - len(LISTED))]
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys]})
    equal((len(answer["Deleted"]), answer.get("Errors", [])), (1000, []))
    equal(s3.list_objects_v2(Bucket=BUCKET, Prefix="l").get("KeyCount"), 0, "keys left")
    put("quiet", b"q")
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "quiet"}], "Quiet": True})
    equal(answer.get("Deleted", []), [], "a quiet answer")
    objects = [{"Key": f"k{number}"} for number in range(1001)]
    refused(
        "MalformedXML", s3.delete_objects, Bucket=BUCKET, Delete={"Objects": objects}, status=400
    )

# --- checksums

with check("checksums of all five algorithms are verified, kept and given back"):
    body = content("checksums", 1000)
    for name, compute in DIGESTS.items():
        field, key = f"Checksum{name}", f"sum-{name}"
        answer = put(key, body, **{field: b64(compute(body))})
        equal(answer.get(field), b64(compute(body)), f"{name} in the answer to a put")
        for call in [s3.head_object, s3.get_object]:
            answer = call(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
            equal(answer.get(field), b64(compute(body)), name)
        refused(
            ("BadDigest", "InvalidRequest", "XAmzContentChecksumMismatch"),
            put,
            f"bad-{name}",
            body,
            **{field: b64(compute(body + b"!"))},
            status=400,
        )
        refused("404", s3.head_object, Bucket=BUCKET, Key=f"bad-{name}")

with check("Content-MD5 is verified"):
    put("md5", body, ContentMD5=b64(hashlib.md5(body).digest()))
    refused(
        "BadDigest",
        put,
        "md5-bad",
        body,
        ContentMD5=b64(hashlib.md5(b"other").digest()),
        status=400,
    )
    refused("InvalidDigest", put, "md5-bad", body, ContentMD5="bm90IGFuIG1kNQ==", status=400)
    refused("404", s3.head_object, Bucket=BUCKET, Key="md5-bad")

with check("multipart checksums: composite SHA-256 and full-object CRC-64"):
    for name, kind in [
        ("SHA256", "COMPOSITE"),
        ("CRC64NVME", "FULL_OBJECT"),
        ("CRC32", "FULL_OBJECT"),
    ]:
        key, field, compute = f"parts-{name}", f"Checksum{name}", DIGESTS[name]
        started = s3.create_multipart_upload(
            Bucket=BUCKET, Key=key, ChecksumAlgorithm=name, ChecksumType=kind
        )["UploadId"]
        # The bitwise CRC is slow, so the parts repeat a short block.
        pieces = [content(key, 1024) * (PART // 1024), content(key + "2", 1000)]
        parts, sums = [], []
        for number, piece in enumerate(pieces, 1):
            sums.append(compute(piece))
            answer = s3.upload_part(
                Bucket=BUCKET,
                Key=key,
                UploadId=started,
                PartNumber=number,
                Body=piece,
                **{field: b64(sums[-1])},
            )
            parts.append({"PartNumber": number, "ETag": answer["ETag"], field: b64(sums[-1])})
        answer = complete(key, started, parts)
        expected = b64(compute(b"".join(pieces)))
        if kind == "COMPOSITE":
            expected = b64(compute(b"".join(sums))) + "-2"
        equal(answer.get(field), expected, f"{name} of the whole")
        head = s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        equal((head.get(field), head.get("ChecksumType")), (expected, kind))

# --- multipart

with check("multipart: disordered and repeated parts, and what lists say meanwhile"):
    key = "multi"
    started = s3.create_multipart_upload(Bucket=BUCKET, Key=key, Metadata={"m": "1"})["UploadId"]
    etags, bodies = {}, {}
    for number in [7, 2, 2, 9]:
        bodies[number] = content(f"multi-{number}-{len(etags)}", PART if number != 9 else 11)
        etags[number] = s3.upload_part(
            Bucket=BUCKET, Key=key, UploadId=started, PartNumber=number, Body=bodies[number]
        )["ETag"]
    uploads = s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert started in [entry["UploadId"] for entry in uploads], "the upload is not listed"
    listed = s3.list_parts(Bucket=BUCKET, Key=key, UploadId=started)["Parts"]
    equal(
        [(part["PartNumber"], part["ETag"], part["Size"]) for part in listed],
        [(number, etags[number], len(bodies[number])) for number in [2, 7, 9]],
    )
    answer = s3.list_parts(Bucket=BUCKET, Key=key, UploadId=started, MaxParts=1, PartNumberMarker=2)
    equal(([part["PartNumber"] for part in answer["Parts"]], answer["IsTruncated"]), ([7], True))
    refused("404", s3.head_object, Bucket=BUCKET, Key=key)
    parts = [{"PartNumber": number, "ETag": etags[number]} for number in [2, 7, 9]]
    refused("InvalidPartOrder", complete, key, started, parts[::-1], status=400)
    refused(
        "InvalidPart",
        complete,
        key,
        started,
        parts[:2] + [{"PartNumber": 10, "ETag": etags[2]}],
        status=400,
    )
    refused(
        "InvalidPart", complete, key, started, [{"PartNumber": 2, "ETag": etags[7]}], status=400
    )
    answer = complete(key, started, parts)
    assert answer["ETag"].strip('"').endswith("-3"), answer["ETag"]
    whole = bodies[2] + bodies[7] + bodies[9]
    equal(body_of(key), whole, "what came back")
    equal(s3.head_object(Bucket=BUCKET, Key=key)["Metadata"], {"m": "1"})
    equal(
        body_of(key, Range=f"bytes={PART - 3}-{PART + 2}"),
        whole[PART - 3 : PART + 3],
        "across parts",
    )

with check("multipart: a part of the whole object is read by its number"):
    started, parts, whole = upload("numbered", [PART, PART, 9])
    complete("numbered", started, parts)
    answer = s3.get_object(Bucket=BUCKET, Key="numbered", PartNumber=2)
    equal((answer["Body"].read(), answer["PartsCount"]), (whole[PART : 2 * PART], 3))
    equal(answer["ContentRange"], f"bytes {PART}-{2 * PART - 1}/{len(whole)}")

with check("multipart: an abort ends it"):
    started, parts, _ = upload("aborted", [PART])
    s3.abort_multipart_upload(Bucket=BUCKET, Key="aborted", UploadId=started)
    refused(
        "NoSuchUpload", s3.list_parts, Bucket=BUCKET, Key="aborted", UploadId=started, status=404
    )
    refused(
        "NoSuchUpload",
        s3.upload_part,
        Bucket=BUCKET,
        Key="aborted",
        UploadId=started,
        PartNumber=2,
        Body=b"late",
        status=404,
    )
    refused("NoSuchUpload", complete, "aborted", started, parts, status=404)
    equal(s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []), [], "uploads left")

with check("multipart: too small a part, a number out of range, an upload of another key"):
    started, parts, _ = upload("small", [100, 100])
    refused("EntityTooSmall", complete, "small", started, parts, status=400)
    for number in [0, 10001]:
        refused(
            "InvalidArgument",
            s3.upload_part,
            Bucket=BUCKET,
            Key="small",
            UploadId=started,
            PartNumber=number,
            Body=b"x",
            status=400,
        )
    refused(
        "NoSuchUpload",
        s3.upload_part,
        Bucket=BUCKET,
        Key="another",
        UploadId=started,
        PartNumber=1,
        Body=b"x",
        status=404,
    )
    s3.abort_multipart_upload(Bucket=BUCKET, Key="small", UploadId=started)

with check("multipart: a conditional completion"):
    started, parts, _ = upload("cond", [100])
    refused("PreconditionFailed", complete, "cond", started, parts, IfNoneMatch="*", status=412)
    s3.abort_multipart_upload(Bucket=BUCKET, Key="cond", UploadId=started)
    started, parts, whole = upload("cond-new", [100])
    complete("cond-new", started, parts, IfNoneMatch="*")
    equal(body_of("cond-new"), whole)

# --- a tree

with check("a tree of 2,000 files is put, found unchanged, and deleted in batches"):
    files = {
        str(path.relative_to(tree_files())): path
        for path in tree_files().rglob("*")
        if path.is_file()
    }

    def send(name):
        return name, put(f"tree/{name}", files[name].read_bytes())["ETag"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sent = dict(pool.map(send, files))
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="tree/")
    entries = [entry for page in pages for entry in page["Contents"]]
    equal(
        {entry["Key"][5:]: (entry["ETag"], entry["Size"]) for entry in entries},
        {name: (etag, files[name].stat().st_size) for name, etag in sent.items()},
        "the listing",
    )
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        wrong = [
            name
            for name, body in zip(files, pool.map(lambda name: body_of(f"tree/{name}"), files))
            if body != files[name].read_bytes()
        ]
    equal(wrong, [], "files that differ")

# --- errors

with check("a wrong key, a wrong secret and no signature are refused"):
    for access, secret, code in [
        (ACCESS_KEY, "wrong" * 8, "SignatureDoesNotMatch"),
        ("NOSUCHKEYNOSUCHKEY00", SECRET_KEY, "InvalidAccessKeyId"),
    ]:
        stranger = boto3.client(
            "s3",
            endpoint_url=ENDPOINT,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            region_name=REGION,
            config=Config(signature_version="s3v4"),
        )
        refused(code, stranger.list_objects_v2, Bucket=BUCKET, status=403)
    status, _, body = raw("GET", f"/{BUCKET}/cond", sign=False)
    equal(status, 403, "status of an unsigned request")
    assert b"AccessDenied" in body, body

with check("errors carry a code, a request id and XML"):
    status, headers, body = raw("GET", f"/{BUCKET}/absent")
    equal((status, headers.get("content-type")), (404, "application/xml"))
    for part in [b"<Code>NoSuchKey</Code>", b"<RequestId>", b"<Message>"]:
        assert part in body, (part, body)
    assert headers.get("x-amz-request-id"), headers

with check("what is not built answers 501 and never a false 200"):
    refused(
        "NotImplemented",
        s3.put_bucket_website,
        Bucket=BUCKET,
        WebsiteConfiguration={"IndexDocument": {"Suffix": "i"}},
        status=501,
    )

with check("a bucket of another owner is refused when the owner is named"):
    refused(
        "AccessDenied",
        s3.get_object,
        Bucket=BUCKET,
        Key="cond",
        ExpectedBucketOwner="000000000001",
        status=403,
    )

# --- the end

with check("a bucket with objects is not deleted; an emptied one is"):
    refused("BucketNotEmpty", s3.delete_bucket, Bucket=BUCKET, status=409)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    for page in pages:
        objects = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
        if objects:
            answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": objects, "Quiet": True})
            equal(answer.get("Errors", []), [])
    s3.delete_bucket(Bucket=BUCKET)
    refused("404", s3.head_bucket, Bucket=BUCKET, status=404)

done()
