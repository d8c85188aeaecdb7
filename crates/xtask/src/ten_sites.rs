//! A trial gateway with four more sites than `havre up` makes: room to move to.
//!
//! **Invariant.** Sites 1 to 10 stand in pairs, a jurisdiction and an operator each, and one owner
//! is behind the last two operators; none of the three may come to hold three shards of a blob.
//!
//! **Deliberately absent.** Sites over a network.
//!
//! **Crash.** Nothing runs here.

use anyhow::{Result, bail};
use std::fs;
use std::path::Path;

/// Four more sites, at two operators that one owner controls.
pub(crate) fn configure(data: &Path) -> Result<()> {
    let file = data.join("havre.toml");
    let text = fs::read_to_string(&file)?;
    let guarantee = "cannot_read = [\"any jurisdiction\", \"any operator\"]";
    if !text.contains(guarantee) {
        bail!("havre up writes another guarantee by now");
    }
    let mut text = text
        .replace(guarantee, "cannot_read = [\"any jurisdiction\", \"any operator\", \"any owner\"]")
        .replace("on_outage = \"degrade\"", "on_outage = \"refuse\"");
    for (operator, code, sites) in [("east", "XD", [7, 8]), ("middle", "XE", [9, 10])] {
        text.push_str(&format!(
            "\n[[operator]]\nname = \"{operator}\"\nincorporation = \"{code}\"\n\
             headquarters = \"{code}\"\n[[operator.owner]]\nname = \"holding\"\ncapital = 0.6\n"
        ));
        for site in sites {
            text.push_str(&format!(
                "\n[[site]]\nname = \"s{site}\"\nurl = \"sites/s{site}\"\noperator = \
                 \"{operator}\"\nlocation = \"{code}\"\n"
            ));
            fs::create_dir_all(data.join(format!("sites/s{site}")))?;
        }
    }
    Ok(fs::write(&file, text)?)
}
