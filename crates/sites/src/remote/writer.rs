//! A shard streamed to a remote store.
//!
//! **Invariant.** At most one part of a multipart upload (`part_bytes`) and one piece wait in
//! memory.
//!
//! **Deliberately absent.** Parts in parallel: a shard is one of many streams, and memory is
//! counted in parts.
//!
//! **Crash.** See the parent module.

use super::{
    Fingerprint, RemoteSite, Way,
    webdav::{Dav, DavStream},
};
use crate::{Operation, ShardWriter, SiteError};
use async_trait::async_trait;
use bytes::Bytes;
use havre_model::BlobName;

pub(super) struct RemoteWriter {
    site: RemoteSite,
    path: String,
    fingerprint: Fingerprint,
    sink: Sink,
}

/// Where the bytes go.
enum Sink {
    /// To the name itself, when the upload is completed.
    Upload(opendal::Writer),
    /// Nowhere: the name is taken, and the end tells whether by this content.
    Taken,
    /// Beside, to be renamed.
    Beside(opendal::Writer, String),
    /// Beside, to be moved.
    Dav(Dav, DavStream, String),
}

impl RemoteWriter {
    pub(super) async fn begin(
        site: RemoteSite,
        name: &BlobName,
        shard_bytes: Option<u64>,
    ) -> Result<Self, SiteError> {
        let fail = site.error(Operation::Create);
        let (path, part) = (name.to_string(), site.shared.part_bytes);
        let sink = match &site.shared.store.way {
            Way::Conditional => {
                let writer = site.operator().writer_with(&path).chunk(part).if_not_exists(true);
                Sink::Upload(writer.await.map_err(fail)?)
            }
            Way::Checked => match site.operator().exists(&path).await.map_err(&fail)? {
                true => Sink::Taken,
                false => {
                    let writer = site.operator().writer_with(&path).chunk(part);
                    Sink::Upload(writer.await.map_err(fail)?)
                }
            },
            Way::Renamed => {
                let temp = site.temp_name();
                let writer = site.operator().writer_with(&temp).await.map_err(fail)?;
                Sink::Beside(writer, temp)
            }
            Way::Dav(dav) => {
                let temp = site.temp_name();
                let stream = dav.stream(&temp, shard_bytes).await.map_err(fail)?;
                Sink::Dav(dav.clone(), stream, temp)
            }
        };
        Ok(Self { site, path, fingerprint: Fingerprint::default(), sink })
    }
}

#[async_trait]
impl ShardWriter for RemoteWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), SiteError> {
        self.fingerprint.add(&bytes);
        let sent = match &mut self.sink {
            Sink::Upload(writer) | Sink::Beside(writer, _) => writer.write(bytes).await,
            Sink::Dav(_, stream, _) => stream.write(bytes).await,
            Sink::Taken => Ok(()),
        };
        sent.map_err(self.site.error(Operation::Write))
    }

    async fn finish(self: Box<Self>) -> Result<(), SiteError> {
        let Self { site, path, fingerprint, sink } = *self;
        let operation = Operation::Finish;
        let fail = site.error(operation);
        match sink {
            Sink::Upload(mut writer) => match writer.close().await.map_err(fail) {
                Ok(_) => Ok(()),
                Err(error) => {
                    drop(writer.abort().await);
                    site.settle(error, &path, fingerprint, operation).await
                }
            },
            Sink::Taken => site.agree(&path, fingerprint, operation).await,
            Sink::Beside(mut writer, temp) => {
                writer.close().await.map_err(fail)?;
                site.rename(&temp, &path, fingerprint, operation).await
            }
            Sink::Dav(dav, stream, temp) => {
                stream.finish().await.map_err(fail)?;
                site.publish(&dav, &temp, &path, fingerprint, operation).await
            }
        }
    }

    async fn abort(self: Box<Self>) {
        // What cannot be removed now is swept, or left to the bucket's lifecycle rule.
        match self.sink {
            Sink::Upload(mut writer) => drop(writer.abort().await),
            Sink::Taken => {}
            Sink::Beside(writer, temp) => {
                drop(writer);
                drop(self.site.operator().delete(&temp).await);
            }
            Sink::Dav(dav, stream, temp) => {
                drop(stream);
                drop(dav.discard(&temp).await);
            }
        }
    }
}
