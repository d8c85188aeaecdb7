//! One more site in a configuration's text, with everything else as it stands.
//!
//! **Invariant.** The text that comes out is a sound configuration, or nothing does; what stood
//! there stays, byte for byte.
//!
//! **Deliberately absent.** Taking a section out: comments around it are its writer's.
//!
//! **Crash.** [`replace`] leaves the old file or the new one.

use super::{Config, ConfigError, LocalError};
use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::Path,
};
use toml::Value;

/// A site to be added; see `docs/configuration.md` for what each of it means.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewSite {
    /// Its permanent name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Its operator's name.
    pub operator: String,
    /// The jurisdiction of its storage.
    pub location: String,
    /// `capacity_gb`.
    pub capacity_gb: Option<u64>,
    /// `price`.
    pub price: Option<f64>,
    /// Options of its backend: `value`, `env:NAME` or `file:PATH`.
    pub options: Vec<(String, String)>,
}

impl NewSite {
    /// The site's section.
    #[must_use]
    pub fn section(&self) -> String {
        let text = |text: &str| Value::String(text.to_owned()).to_string();
        let mut section = String::from("\n[[site]]\n");
        let fields = [
            ("name", &self.name),
            ("url", &self.url),
            ("operator", &self.operator),
            ("location", &self.location),
        ];
        let mut line = |key: &str, value: &str| {
            writeln!(section, "{key} = {value}").expect("a String takes all that is written");
        };
        for (key, value) in fields {
            line(key, &text(value));
        }
        if let Some(capacity) = self.capacity_gb {
            line("capacity_gb", &capacity.to_string());
        }
        if let Some(price) = self.price {
            line("price", &Value::Float(price).to_string());
        }
        if !self.options.is_empty() {
            section.push_str("[site.options]\n");
        }
        for (key, value) in &self.options {
            let value = match (value.strip_prefix("env:"), value.strip_prefix("file:")) {
                (Some(name), _) => format!("{{ env = {} }}", text(name)),
                (None, Some(path)) => format!("{{ file = {} }}", text(path)),
                (None, None) => text(value),
            };
            // A key as a string is a key, whatever is in it.
            writeln!(section, "{} = {value}", text(key)).expect("a String takes all");
        }
        section
    }

    /// The configuration with this site behind all others, and its text.
    ///
    /// # Errors
    /// Whatever would be wrong with it.
    pub fn added(&self, file: &Path, text: &str) -> Result<(Config, String), ConfigError> {
        let mut text = text.to_owned();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&self.section());
        Ok((Config::parse(file, &text)?, text))
    }
}

/// Puts a text in a file's place, durably, with the permissions that the file had.
///
/// # Errors
/// When the system refuses; the file is then as it was.
pub fn replace(path: &Path, text: &str) -> Result<(), LocalError> {
    let failed = |source| LocalError { action: "replace", path: path.to_owned(), source };
    // A link is written through, not replaced.
    let path = &path.canonicalize().map_err(failed)?;
    let draft = path.with_extension("draft");
    let write = || {
        let permissions = fs::metadata(path)?.permissions();
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&draft)?;
        file.set_permissions(permissions)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(path.parent().unwrap_or_else(|| Path::new("/")))?.sync_all()
    };
    write().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::local_example;

    fn site(name: &str) -> NewSite {
        NewSite {
            name: name.to_owned(),
            url: format!("sites/{name}"),
            operator: "north".to_owned(),
            location: "XA".to_owned(),
            ..NewSite::default()
        }
    }

    #[test]
    fn a_site_is_added_and_nothing_else_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("havre.toml");
        let text = local_example("key");
        let new = NewSite {
            url: "s3://a-bucket/folder".to_owned(),
            capacity_gb: Some(500),
            price: Some(0.02),
            options: vec![
                ("region".to_owned(), "odd \"region\"\n[[site]]".to_owned()),
                ("access_key_id".to_owned(), "env:KEY".to_owned()),
                ("secret_access_key".to_owned(), "file:secret".to_owned()),
            ],
            ..site("s7")
        };
        let (config, added) = new.added(&file, &text).expect("it is sound");
        assert!(added.starts_with(&text));
        assert_eq!(config.sites.len(), 7);
        let seventh = &config.sites[6];
        assert_eq!((&*seventh.name, &*seventh.url), ("s7", "s3://a-bucket/folder"));
        assert_eq!(seventh.room.capacity, Some(500_000_000_000));
        assert_eq!(seventh.room.price_micros, Some(20_000));
        assert_eq!(seventh.options.len(), 3);
    }

    #[test]
    fn what_would_not_be_sound_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("havre.toml");
        let text = local_example("key");
        let refused = |site: NewSite| site.added(&file, &text).expect_err("refused").to_string();
        assert!(refused(site("s1")).contains("s1"));
        assert!(
            refused(NewSite { operator: "nobody".to_owned(), ..site("s7") }).contains("nobody")
        );
        assert!(refused(NewSite { url: "sites/s1".to_owned(), ..site("s7") }).contains("same"));
        assert!(refused(NewSite { price: Some(-1.0), ..site("s7") }).contains("price"));
        assert!(refused(NewSite { capacity_gb: Some(0), ..site("s7") }).contains("capacity_gb"));
        let option = vec![("secret_access_key".to_owned(), "plain".to_owned())];
        let plain = NewSite { url: "s3://b/f".to_owned(), options: option, ..site("s7") };
        assert!(refused(plain).contains("secret"));
    }

    #[test]
    fn a_file_is_replaced_with_its_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("havre.toml"), folder.path().join("link.toml"));
        fs::write(&file, "old").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        replace(&link, "new").expect("replaced");
        assert_eq!(fs::read_to_string(&file).expect("read"), "new");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 2, "no draft is left");
    }
}
