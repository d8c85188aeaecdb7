//! Where sites are: which URLs name one storage, and which name none.

use super::*;
use std::os::unix::fs::symlink;

/// The sound configuration with these URLs for sites `a1` and `b1`, each with its endpoint behind a
/// blank if it has one.
fn with_urls(base: &Path, first: &str, second: &str) -> Result<Config, ConfigError> {
    let site = |text: &str| match text.split_once(' ') {
        None => format!("url = \"{text}\""),
        Some((url, endpoint)) => {
            format!("url = \"{url}\"\noptions = {{ endpoint = \"{endpoint}\" }}")
        }
    };
    let options = SOUND.find("[site.options]").expect("it has options");
    let limits = SOUND.find("[site.limits]").expect("it has limits");
    let text = format!("{}{}", &SOUND[..options], &SOUND[limits..])
        .replace("url = \"sites/a1\"", &site(first))
        .replace("url = \"s3://bucket/one\"", &site(second));
    Config::parse(&base.join("havre.toml"), &text)
}

#[track_caller]
fn check_storage(base: &Path, first: &str, second: &str, same: bool) {
    match with_urls(base, first, second) {
        Ok(_) => assert!(!same, "{first} and {second} were taken for two"),
        Err(error) => {
            assert!(same, "{error}");
            let other = line_of("url = \"sites/a1\"");
            let want = format!("same storage as site \"a1\" at line {other}");
            assert!(error.reason().contains(&want), "{error}");
            let line = line_of("url = \"s3://bucket/one\"") + usize::from(first.contains(' '));
            assert_eq!(error.line(), Some(line), "{error}");
        }
    }
}

#[test]
fn directories_are_one_however_they_are_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = folder.path();
    fs::create_dir_all(base.join("real/inner")).expect("created");
    symlink(base.join("real"), base.join("link")).expect("linked");
    let absolute = base.join("real").display().to_string();
    for (second, same) in [
        ("real", true),
        ("./real/", true),
        ("link", true),
        ("link/inner", true),
        ("real/inner", true),
        ("other/../real", true),
        ("real/not/there/yet", true),
        (absolute.as_str(), true),
        (&format!("file://{absolute}"), true),
        (".", true),
        ("real2", false),
        ("other", false),
    ] {
        check_storage(base, "real", second, same);
        check_storage(base, second, "real", same);
    }
    // Neither exists yet.
    check_storage(base, "new/a", "link/../new/a", true);
    check_storage(base, "new/a", "new/b", false);
}

#[test]
fn buckets_are_one_however_their_endpoint_is_written() {
    let base = Path::new("/nowhere");
    for (first, second, same) in [
        ("s3://b", "s3://b/", true),
        ("s3://b/one", "s3://b/one/", true),
        ("s3://b/one", "s3://b/one/two", true),
        ("s3://b", "s3://b/one", true),
        ("s3://b/one", "s3://b/two", false),
        ("s3://b/one", "s3://b/onetwo", false),
        ("s3://b", "s3://c", false),
        ("s3://b https://s3.eu-1.amazonaws.com", "s3://b", true),
        ("s3://b https://x.example", "s3://b https://X.example:443/", true),
        ("s3://b https://x.example", "s3://b https://y.example", false),
        ("oss://b https://oss-a.aliyuncs.com", "s3://b https://oss-a-internal.aliyuncs.com", true),
        ("s3://b", "gcs://b", false),
        ("webdav://h/dav", "webdavs://H:443/dav/x", true),
        ("webdavs://h/dav", "webdavs://h:8443/dav", false),
        ("sftp://u@h:22/srv", "sftp://v@h/srv", true),
        ("sftp://h/srv/a", "sftp://h/srv/b", false),
        ("memory:", "memory:", false),
    ] {
        check_storage(base, first, second, same);
    }
}

#[test]
fn urls_of_no_known_store_are_refused() {
    for (url, want) in [
        ("", "is empty"),
        ("ftp://host/x", "the scheme is unknown"),
        ("ftp:x", "unknown"),
        ("s3:///x", "no bucket is named"),
        ("s3:bucket", "no bucket is named"),
        ("s3://bucket?x=1", "use options"),
        ("s3://key:secret@bucket", "credential"),
        ("s3://bucket/a/../b", "plainly"),
        ("sftp:///x", "no host is named"),
        ("sftp://user:secret@host", "credential"),
        ("file://relative", "absolute path"),
    ] {
        let line = format!("url = \"{url}\"\noperator");
        check_refused("sites/a1", url, &line, want);
    }
}

#[test]
fn options_of_other_backends_are_refused() {
    check_refused("virtual_host_style", "virtual_hosts", "virtual_hosts", "known are region,");
    let anchor = "url = \"sites/a1\"";
    let with = format!("{anchor}\noptions = {{ region = \"x\" }}");
    check_refused(anchor, &with, "options = {", "has no option \"region\"");
}
