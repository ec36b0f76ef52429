//! A TCP proxy that forwards bytes, stalls, slows down, or cuts every connection.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

/// How the proxy treats data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Forwards everything.
    Open,
    /// Reads and forwards nothing, without closing any connection.
    Stalled,
    /// Forwards a few kilobytes per second.
    Slow,
    /// Delays everything by this much in each direction.
    #[allow(dead_code)] // used only by the behaviour tests
    Late(Duration),
}

#[derive(Debug)]
struct Shared {
    target: watch::Sender<String>,
    line: watch::Sender<Line>,
    /// Increases with every cut. A connection ends when the number exceeds that at which it was opened.
    cuts: watch::Sender<u64>,
    /// The same for connections that are abandoned without being closed.
    strands: watch::Sender<u64>,
}

/// A running proxy, which ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// The address that it listens at, which never changes.
    pub address: String,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Proxy {
    /// Starts a proxy in front of `target` (`host:port`).
    pub async fn before(target: &str) -> Self {
        Self::at("127.0.0.1:0", target).await
    }

    /// The same, listening at a given local address.
    pub async fn at(own: &str, target: &str) -> Self {
        let listener = TcpListener::bind(own).await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let shared = Arc::new(Shared {
            target: watch::Sender::new(target.to_owned()),
            line: watch::Sender::new(Line::Open),
            cuts: watch::Sender::new(0),
            strands: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Sends new connections to `target` and cuts those that are open.
    pub fn lead_to(&self, target: &str) {
        self.shared.target.send_replace(target.to_owned());
        self.cut();
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Stops forwarding on the open connections without closing either end, as when a router on the path fails. New connections are served.
    #[allow(dead_code)] // used only by the behaviour tests
    pub fn strand(&self) {
        self.shared.strands.send_modify(|strands| *strands += 1);
    }

    /// Changes how the proxy treats data from now on.
    pub fn set(&self, line: Line) {
        self.shared.line.send_replace(line);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((near, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut cuts = shared.cuts.subscribe();
            cuts.borrow_and_update();
            let target = shared.target.borrow().clone();
            let Ok(far) = TcpStream::connect(&target).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::select! {
                () = pass(near_in, far_out, shared.line.subscribe(), shared.strands.subscribe()) => {}
                () = pass(far_in, near_out, shared.line.subscribe(), shared.strands.subscribe()) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>, mut strands: watch::Receiver<u64>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let open = line.wait_for(|line| *line != Line::Stalled).await.map(|line| *line);
        let Ok(now) = open else { return };
        let most = if now == Line::Slow { 256 } else { buffer.len() };
        let read = tokio::select! {
            biased;
            // `changed` fails once the proxy is dropped, which cuts this connection anyway.
            Ok(()) = strands.changed() => std::future::pending().await,
            read = from.read(&mut buffer[..most]) => read,
        };
        let Ok(count @ 1..) = read else { return };
        if let Line::Late(by) = now {
            sleep(by).await;
        }
        // Data in transit when the line stalls is held back too.
        if line.wait_for(|line| *line != Line::Stalled).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        if now == Line::Slow {
            sleep(Duration::from_millis(20)).await;
        }
    }
}
