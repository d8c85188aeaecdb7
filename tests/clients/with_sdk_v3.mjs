// @aws-sdk/client-s3 (version 3): buffers, streams, multipart, names, a tree. The output is that of
// scenario.py.

import { createHash } from "node:crypto";
import { createReadStream, readFileSync, readdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import {
  AbortMultipartUploadCommand, CompleteMultipartUploadCommand, CopyObjectCommand,
  CreateBucketCommand, CreateMultipartUploadCommand, DeleteBucketCommand, DeleteObjectsCommand,
  GetObjectCommand, HeadBucketCommand, HeadObjectCommand, ListBucketsCommand, ListPartsCommand,
  PutObjectCommand, S3Client, UploadPartCommand, paginateListObjectsV2,
} from "@aws-sdk/client-s3";

const { S3_ENDPOINT, SCENARIO_DATA, SCENARIO_MODE, AWS_DEFAULT_REGION } = process.env;
const Bucket = `sdk-v3-${SCENARIO_MODE}`;
const PART = 8 * 1024 * 1024;
const s3 = new S3Client({
  endpoint: S3_ENDPOINT, region: AWS_DEFAULT_REGION, forcePathStyle: true, maxAttempts: 2,
});

let failed = 0;

async function check(name, body) {
  const start = Date.now();
  try {
    await body();
    console.log(`ok ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}: ${String(error).slice(0, 700)}`);
  }
}

function equal(actual, expected, what = "value") {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (left !== right) {
    const [found, expected] = [left, right].map((value) => String(value).slice(0, 400));
    throw new Error(`${what} is ${found}, expected ${expected}`);
  }
}

async function refused(name, status, command) {
  try {
    await s3.send(command);
  } catch (error) {
    equal([error.name, error.$metadata?.httpStatusCode], [name, status], "the refusal");
    return;
  }
  throw new Error(`was accepted, expected ${name}`);
}

async function sha256(stream) {
  const hash = createHash("sha256");
  for await (const block of stream) hash.update(block);
  return hash.digest("hex");
}

async function bodyOf(Key, extra = {}) {
  const answer = await s3.send(new GetObjectCommand({ Bucket, Key, ...extra }));
  return Buffer.from(await answer.Body.transformToByteArray());
}

function filesOf(folder) {
  const found = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) found.push(...filesOf(path));
    else found.push(path);
  }
  return found;
}

async function listed(Prefix) {
  const found = [];
  for await (const page of paginateListObjectsV2({ client: s3 }, { Bucket, Prefix })) {
    found.push(...(page.Contents ?? []));
  }
  return found;
}

/** Runs `work` over `items`, eight at a time. */
async function each(items, work) {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.pop(); item !== undefined; item = queue.pop()) await work(item);
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}

const sizes = join(SCENARIO_DATA, "sizes");
const names = join(SCENARIO_DATA, "names");
const tree = join(SCENARIO_DATA, "tree");

await check("a bucket is made and listed", async () => {
  await s3.send(new CreateBucketCommand({ Bucket }));
  const { Buckets } = await s3.send(new ListBucketsCommand({}));
  equal(Buckets.some((entry) => entry.Name === Bucket), true, "listed");
});

for (const name of ["empty", "one-byte", "five-mib-and-one"]) {
  await check(`a buffer there and back: ${name}`, async () => {
    const Body = readFileSync(join(sizes, name));
    await s3.send(new PutObjectCommand({ Bucket, Key: `buffer/${name}`, Body }));
    equal((await bodyOf(`buffer/${name}`)).equals(Body), true, "equality");
  });
}

for (const name of ["one-byte", "five-mib-and-one", "big"]) {
  await check(`a stream there and back: ${name}`, async () => {
    const path = join(sizes, name);
    const ContentLength = statSync(path).size;
    const put = { Bucket, Key: `stream/${name}`, Body: createReadStream(path), ContentLength };
    await s3.send(new PutObjectCommand(put));
    const answer = await s3.send(new GetObjectCommand({ Bucket, Key: `stream/${name}` }));
    equal(answer.ContentLength, ContentLength, "length");
    equal(await sha256(answer.Body), await sha256(createReadStream(path)), "SHA-256");
  });
}

await check("200 MiB in parts of 8 MiB, four at once", async () => {
  const Key = "parts/big";
  const path = join(sizes, "big");
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  const whole = readFileSync(path);
  const count = Math.ceil(whole.length / PART);
  const Parts = [];
  const queue = Array.from({ length: count }, (_, at) => at + 1);
  const worker = async () => {
    for (let number = queue.shift(); number !== undefined; number = queue.shift()) {
      const Body = whole.subarray((number - 1) * PART, number * PART);
      const part = { Bucket, Key, UploadId, PartNumber: number, Body };
      const { ETag, ChecksumCRC32 } = await s3.send(new UploadPartCommand(part));
      Parts[number - 1] = { PartNumber: number, ETag, ChecksumCRC32 };
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  const seen = await s3.send(new ListPartsCommand({ Bucket, Key, UploadId }));
  equal(seen.Parts.length, count, "parts listed");
  const done = { Bucket, Key, UploadId, MultipartUpload: { Parts } };
  await s3.send(new CompleteMultipartUploadCommand(done));
  const answer = await s3.send(new GetObjectCommand({ Bucket, Key }));
  equal(await sha256(answer.Body), createHash("sha256").update(whole).digest("hex"), "SHA-256");
});

await check("an aborted upload is gone", async () => {
  const Key = "aborted";
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  await s3.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: "part" }));
  await s3.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }));
  await refused("NoSuchUpload", 404, new ListPartsCommand({ Bucket, Key, UploadId }));
});

await check("odd names come back as they were", async () => {
  const paths = filesOf(names);
  for (const path of paths) {
    const Key = `names/${relative(names, path)}`;
    await s3.send(new PutObjectCommand({ Bucket, Key, Body: readFileSync(path) }));
  }
  const expected = paths.map((path) => `names/${relative(names, path)}`).sort();
  equal((await listed("names/")).map((entry) => entry.Key).sort(), expected, "the listing");
  for (const path of paths) {
    const back = await bodyOf(`names/${relative(names, path)}`);
    equal(back.equals(readFileSync(path)), true, `equality of ${path}`);
  }
});

await check("metadata, conditions, ranges and copies", async () => {
  const Key = "small";
  const Metadata = { colour: "blue" };
  const put = { Bucket, Key, Body: "0123456789", Metadata, ContentType: "text/x" };
  const { ETag } = await s3.send(new PutObjectCommand(put));
  const head = await s3.send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }));
  equal([head.Metadata, head.ContentType, head.ETag], [Metadata, "text/x", ETag], "the head");
  equal((await bodyOf(Key, { Range: "bytes=2-4" })).toString(), "234", "a range");
  await refused("PreconditionFailed", 412, new PutObjectCommand({ ...put, IfNoneMatch: "*" }));
  const CopySource = `${Bucket}/${Key}`;
  await s3.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource }));
  equal((await bodyOf("copy")).toString(), "0123456789", "the copy");
  await refused("NoSuchKey", 404, new GetObjectCommand({ Bucket, Key: "absent" }));
});

await check("a tree of 2,000 files is put, and found unchanged", async () => {
  const paths = filesOf(tree);
  await each(paths, async (path) => {
    const Key = `tree/${relative(tree, path)}`;
    await s3.send(new PutObjectCommand({ Bucket, Key, Body: readFileSync(path) }));
  });
  const named = (path) => [`tree/${relative(tree, path)}`, statSync(path).size];
  const expected = paths.map(named).sort();
  const seen = (await listed("tree/")).map((entry) => [entry.Key, entry.Size]).sort();
  equal(seen, expected, "the listing");
  await each(paths, async (path) => {
    const back = await bodyOf(`tree/${relative(tree, path)}`);
    equal(back.equals(readFileSync(path)), true, `equality of ${path}`);
  });
});

await check("batch deletes leave an empty bucket, which is deleted", async () => {
  const keys = (await listed("")).map((entry) => ({ Key: entry.Key }));
  for (let at = 0; at < keys.length; at += 1000) {
    const Delete = { Objects: keys.slice(at, at + 1000) };
    const { Deleted, Errors } = await s3.send(new DeleteObjectsCommand({ Bucket, Delete }));
    equal([Deleted.length, Errors ?? []], [Delete.Objects.length, []], "the answer");
  }
  equal(await listed(""), [], "what is left");
  await s3.send(new DeleteBucketCommand({ Bucket }));
  await refused("NotFound", 404, new HeadBucketCommand({ Bucket }));
});

process.exit(failed ? 1 : 0);
