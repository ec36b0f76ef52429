//! A TCP proxy between any two: it passes bytes on, stands still, slows down, or cuts every connection.

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

/// What the line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Passes bytes on.
    Open,
    /// Takes and passes nothing; nobody is told.
    Stalled,
    /// A few kilobytes a second.
    Slow,
    /// Everything arrives so much later, each way.
    #[allow(dead_code)] // for tests of behaviour alone
    Late(Duration),
}

#[derive(Debug)]
struct Shared {
    target: watch::Sender<String>,
    line: watch::Sender<Line>,
    /// Rises with every cut: connections of an older number end.
    cuts: watch::Sender<u64>,
    /// The same for connections that are left to themselves.
    strands: watch::Sender<u64>,
}

/// A proxy, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens, for good.
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
    /// A proxy in front of `target` (`host:port`).
    pub async fn before(target: &str) -> Self {
        Self::at("127.0.0.1:0", target).await
    }

    /// The same at an address of this machine.
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

    /// New connections go there; those that are open end.
    pub fn lead_to(&self, target: &str) {
        self.shared.target.send_replace(target.to_owned());
        self.cut();
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// From now on nothing passes over the connections that are open, and neither end is told: as when a machine on the way dies. New ones are
    /// served.
    #[allow(dead_code)] // for tests of behaviour alone
    pub fn strand(&self) {
        self.shared.strands.send_modify(|strands| *strands += 1);
    }

    /// Lets the line do this from now on.
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
            // An error: the proxy has ended, and so has everything.
            Ok(()) = strands.changed() => std::future::pending().await,
            read = from.read(&mut buffer[..most]) => read,
        };
        let Ok(count @ 1..) = read else { return };
        if let Line::Late(by) = now {
            sleep(by).await;
        }
        // What was on its way when the line stopped waits with it.
        if line.wait_for(|line| *line != Line::Stalled).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        if now == Line::Slow {
            sleep(Duration::from_millis(20)).await;
        }
    }
}
