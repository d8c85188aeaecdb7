//! `havre up`: a trial gateway out of nothing.
//!
//! **Invariant.** Nothing that exists is overwritten: started again, it serves the same data with
//! the same credential.
//!
//! **Deliberately absent.** Safety against anybody: six directories on one disk show how it works,
//! no more.
//!
//! **Crash.** The configuration is written last; a start that died is begun again.

use crate::serve;
use anyhow::{Context, Result};
use havre::compose::is_there;
use havre::config::{Config, write_local};
use havre_model::ports::Ports;
use havre_seal::RootKey;
use std::net::SocketAddr;
use std::path::Path;
use zeroize::Zeroizing;

const CONFIG_FILE: &str = "havre.toml";
const ROOT_KEY_FILE: &str = "root.key";
/// The credential in the form that shells and tools read.
const CREDENTIAL_FILE: &str = "credential.env";
const ENDPOINT_FILE: &str = "endpoint";
/// Letters and digits of an access key and of a secret, as AWS has them.
const ACCESS_KEY_CHARS: usize = 20;
const SECRET_CHARS: usize = 40;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Sets a trial gateway up in `data`, unless there is one, and serves it.
pub(crate) async fn up(
    data: &Path,
    listen: Option<SocketAddr>,
    admin: Option<SocketAddr>,
) -> Result<()> {
    let path = data.join(CONFIG_FILE);
    if !is_there(&path) {
        set_up(data)?;
    }
    let mut config = Config::load(&path)?;
    if let (Some(address), Some(listener)) = (listen, config.listeners.first_mut()) {
        listener.address = address;
    }
    if let Some(address) = admin {
        config.admin.address = address;
    }
    write_credential(data, &config)?;
    let data = data.to_owned();
    let announce = move |config: &Config, endpoint: &str| {
        if let Err(error) = std::fs::write(data.join(ENDPOINT_FILE), format!("{endpoint}\n")) {
            tracing::warn!(%error, "the file with the endpoint could not be written");
        }
        introduce(config, endpoint, &data)
    };
    serve::serve(&config, announce).await
}

fn set_up(data: &Path) -> Result<()> {
    let ports = havre_sites::system::ports();
    std::fs::create_dir_all(data).with_context(|| format!("create {}", data.display()))?;
    let root_key = data.join(ROOT_KEY_FILE);
    if !is_there(&root_key) {
        RootKey::create_file(&root_key, &*ports.entropy)?;
    }
    let access_key = random_text(&ports, ACCESS_KEY_CHARS);
    let secret = random_text(&ports, SECRET_CHARS);
    write_local(data, &access_key, &secret)?;
    Ok(())
}

fn random_text(ports: &Ports, chars: usize) -> String {
    let mut bytes = vec![0; chars];
    ports.entropy.fill(&mut bytes);
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// The credential as shell variables, readable by its owner only. It is left alone when it says so
/// already: a start on a full disk must not empty it.
fn write_credential(data: &Path, config: &Config) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let Some(credential) = config.credentials.first() else { return Ok(()) };
    let secret = credential.secret.resolve()?;
    let path = data.join(CREDENTIAL_FILE);
    let lines = Zeroizing::new(format!(
        "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}\nAWS_DEFAULT_REGION={}\n",
        credential.access_key,
        secret.expose(),
        config.gateway.region,
    ));
    if std::fs::read_to_string(&path).is_ok_and(|found| found == *lines) {
        return Ok(());
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("write {}", path.display()))?;
    file.write_all(lines.as_bytes()).with_context(|| format!("write {}", path.display()))
}

/// Endpoint, credential, and two examples that work when pasted.
fn introduce(config: &Config, endpoint: &str, data: &Path) -> Result<()> {
    let Some(credential) = config.credentials.first() else { return Ok(()) };
    let access_key = &credential.access_key;
    let secret = credential.secret.resolve()?;
    let secret = secret.expose();
    let region = &config.gateway.region;
    let admin = config.admin.address;
    let data = data.display();
    println!(
        "Havre serves S3 from six local sites in {data}/sites; any three of them suffice to read,\n\
         and no two of one jurisdiction or operator can.\n\
         \n\
         endpoint    {endpoint}\n\
         access key  {access_key}\n\
         secret key  {secret}\n\
         metrics     http://{admin}/metrics\n\
         \n\
         With aws:\n\
         \n\
         export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret} \
         AWS_DEFAULT_REGION={region}\n\
         aws --endpoint-url {endpoint} s3 mb s3://first\n\
         echo hello | aws --endpoint-url {endpoint} s3 cp - s3://first/hello.txt\n\
         aws --endpoint-url {endpoint} s3 cp s3://first/hello.txt -\n\
         \n\
         With boto3:\n\
         \n\
         python3 - <<'END'\n\
         import boto3\n\
         s3 = boto3.client('s3', endpoint_url='{endpoint}', region_name='{region}',\n\
         \x20                 aws_access_key_id='{access_key}',\n\
         \x20                 aws_secret_access_key='{secret}')\n\
         s3.create_bucket(Bucket='second')\n\
         s3.put_object(Bucket='second', Key='hello.txt', Body=b'hello')\n\
         print(s3.get_object(Bucket='second', Key='hello.txt')['Body'].read())\n\
         END\n\
         \n\
         Stop with Ctrl-C; start again and the data is there."
    );
    Ok(())
}
