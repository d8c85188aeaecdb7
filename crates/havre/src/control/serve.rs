//! The gateway's end: takes orders, one a connection, and has a [`Desk`] carry them out.
//!
//! **Invariant.** At most [`CONNECTIONS_MAX`] at a time; an order is there within
//! [`ORDER_DEADLINE`], a line is taken within [`WRITE_DEADLINE`], or the connection ends. A client
//! that goes away ends its order: the desk's future is dropped where it waits.
//!
//! **Deliberately absent.** What orders do.
//!
//! **Crash.** Orders end with the process.

use super::socket::check_peer;
use super::{Line, ORDER_BYTES_MAX, Order};
use anyhow::{Context, Result, bail};
use havre_model::ports::Ports;
use serde::Serialize;
use serde_json::Value;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

/// Orders that are taken or carried out at a time; one more is turned away.
pub const CONNECTIONS_MAX: usize = 16;
/// A client's order has to be there within this.
pub const ORDER_DEADLINE: Duration = Duration::from_secs(5);
/// A client has to take a line within this.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// Lines of progress that wait for a client.
const LINES_WAITING_MAX: usize = 16;
/// The pause after a connection could not be accepted: no descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What an order becomes: its result as JSON.
pub type Outcome<'a> = Pin<Box<dyn Future<Output = Result<Value>> + Send + 'a>>;

/// Who carries orders out.
pub trait Desk: Send + Sync + 'static {
    /// Carries the order out, and tells the reporter how it goes. The future is dropped when the
    /// client goes away: what has to go on then is spawned, what has to end is a guard.
    fn carry_out<'a>(&'a self, order: Order, reporter: &'a Reporter) -> Outcome<'a>;
}

/// Takes lines of progress to whoever gave the order.
#[derive(Debug)]
pub struct Reporter(mpsc::Sender<Value>);

impl Reporter {
    /// Sends a line of progress; waits while the client is slow.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub async fn tell(&self, progress: &impl Serialize) -> Result<()> {
        let progress = serde_json::to_value(progress).context("write the progress as JSON")?;
        // Nobody takes it: then the order is about to end.
        drop(self.0.send(progress).await);
        Ok(())
    }
}

/// Takes orders for as long as the process lives.
pub async fn serve(listener: UnixListener, desk: Arc<dyn Desk>, ports: Ports) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an order could not be taken");
                ports.runtime.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else {
            tracing::warn!("an order was turned away: too many are being carried out");
            continue;
        };
        let (desk, ports_too) = (Arc::clone(&desk), ports.clone());
        ports.runtime.spawn(Box::pin(async move {
            if let Err(error) = converse(stream, &*desk, &ports_too).await {
                tracing::warn!(error = format!("{error:#}"), "an order was not carried out");
            }
            drop(turn);
        }));
    }
}

/// One connection: the order, progress, the result.
async fn converse(stream: UnixStream, desk: &dyn Desk, ports: &Ports) -> Result<()> {
    check_peer(&stream)?;
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    let order = tokio::select! {
        order = read_order(&mut from) => order,
        () = ports.runtime.sleep(ORDER_DEADLINE) => bail!("no order came in time"),
    };
    let order = match order {
        Ok(order) => order,
        Err(error) => {
            let refusal = Line::Failed(format!("the order is not understood: {error:#}"));
            return write(&mut to, &refusal, ports).await;
        }
    };
    tracing::info!(order = name_of(&order), "an order was given");
    let (sender, mut progress) = mpsc::channel(LINES_WAITING_MAX);
    let reporter = Reporter(sender);
    let mut work = desk.carry_out(order, &reporter);
    let result = loop {
        tokio::select! {
            biased;
            Some(line) = progress.recv() => {
                write(&mut to, &Line::Progress(line), ports).await?;
            }
            result = &mut work => break result,
            _ = from.read_u8() => bail!("who gave the order went away"),
        }
    };
    drop(work);
    while let Ok(line) = progress.try_recv() {
        write(&mut to, &Line::Progress(line), ports).await?;
    }
    let last = match result {
        Ok(result) => Line::Done(result),
        Err(error) => Line::Failed(format!("{error:#}")),
    };
    write(&mut to, &last, ports).await
}

async fn read_order(from: &mut BufReader<OwnedReadHalf>) -> Result<Order> {
    let mut line = Vec::new();
    from.take(ORDER_BYTES_MAX as u64).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        bail!("it is no line of at most {ORDER_BYTES_MAX} bytes");
    }
    Ok(serde_json::from_slice(&line)?)
}

async fn write(to: &mut OwnedWriteHalf, line: &Line, ports: &Ports) -> Result<()> {
    let mut text = serde_json::to_vec(line).context("write the answer as JSON")?;
    text.push(b'\n');
    tokio::select! {
        written = to.write_all(&text) => written.context("answer an order"),
        () = ports.runtime.sleep(WRITE_DEADLINE) => bail!("the answer was not taken in time"),
    }
}

/// The order's name alone, for the log.
fn name_of(order: &Order) -> String {
    let value = serde_json::to_value(order).unwrap_or_default();
    value.get("order").and_then(Value::as_str).unwrap_or("?").to_owned()
}
