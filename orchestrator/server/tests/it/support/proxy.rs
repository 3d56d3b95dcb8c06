//! A wire to PostgreSQL that can be cut at the worst moment: around a COMMIT.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use skald_kit::config::Secret;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// When the wire is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never sees the COMMIT.
    Before,
    /// The server has committed, and nobody hears of it.
    After,
}

/// A proxy in front of a server.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    before: AtomicUsize,
    after: AtomicUsize,
    cuts: AtomicUsize,
}

impl Proxy {
    /// Stands in front of the server of this URL.
    pub(crate) async fn start(url: &Secret) -> Proxy {
        let rest = url.expose().split_once('@').unwrap().1;
        let server = rest.split_once('/').unwrap().0.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy { address: listener.local_addr().unwrap(), shared: Arc::default() };
        let shared = Arc::clone(&proxy.shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (shared, server) = (Arc::clone(&shared), server.clone());
                tokio::spawn(async move {
                    let server = TcpStream::connect(server).await.unwrap();
                    // Whichever way it ends, both sides are closed.
                    let _ = shared.carry(client, server).await;
                });
            }
        });
        proxy
    }

    /// The same URL through this proxy.
    pub(crate) fn url(&self, url: &Secret) -> Secret {
        let (before, rest) = url.expose().split_once('@').unwrap();
        let database = rest.split_once('/').unwrap().1;
        Secret::new(format!("{before}@{}/{database}", self.address))
    }

    /// Cuts the wire at the next COMMIT.
    pub(crate) fn cut(&self, when: Cut) {
        let armed = if when == Cut::Before { &self.shared.before } else { &self.shared.after };
        armed.fetch_add(1, Ordering::SeqCst);
    }

    /// How often it was cut.
    pub(crate) fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn take(&self, armed: &AtomicUsize) -> bool {
        let taken = armed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if taken {
            self.cuts.fetch_add(1, Ordering::SeqCst);
        }
        taken
    }

    async fn carry(&self, mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
        let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => {
                    let bytes = &up[..read?];
                    let commits = bytes.windows(7).any(|w| w == b"COMMIT\0");
                    if bytes.is_empty() || commits && self.take(&self.before) {
                        return Ok(());
                    }
                    server.write_all(bytes).await?;
                    if commits && self.take(&self.after) {
                        // Its answer: it has happened.
                        return server.read(&mut down).await.map(|_| ());
                    }
                }
                read = server.read(&mut down) => {
                    let bytes = &down[..read?];
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    client.write_all(bytes).await?;
                }
            }
        }
    }
}
