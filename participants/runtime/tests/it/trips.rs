//! Counts the round trips that a participant's connections make to PostgreSQL: a proxy that reads along and changes nothing.
//! Inventory and payment include this file.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The protocol version in a startup message; what comes before it asks for encryption.
const STARTUP: [u8; 4] = [0, 3, 0, 0];

/// Stands between a participant and PostgreSQL.
pub(crate) struct Trips {
    /// The same database, through the proxy.
    pub(crate) url: String,
    connections: Arc<Mutex<Vec<Arc<Mutex<Seen>>>>>,
}

/// What one connection sent.
#[derive(Default)]
struct Seen {
    started: bool,
    /// The beginning of a message that did not come whole yet.
    rest: Vec<u8>,
    /// All statements that were prepared on it.
    prepared: String,
    trips: usize,
}

impl Trips {
    /// The URL of the same database through a proxy at this port.
    pub(crate) fn url(direct: &str, port: u16) -> String {
        direct.replace(server(direct), &format!("127.0.0.1:{port}"))
    }

    /// A proxy at a port of its own choice, when it is 0.
    pub(crate) async fn start_at(direct: &str, port: u16) -> Self {
        let server = server(direct).to_owned();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let connections = Arc::<Mutex<Vec<_>>>::default();
        let all = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the server");
                let seen = Arc::<Mutex<Seen>>::default();
                all.lock().expect("no panic").push(Arc::clone(&seen));
                tokio::spawn(relay(client, server, seen));
            }
        });
        Self { url: Self::url(direct, port), connections }
    }

    /// Round trips so far of the connections on which such a statement was prepared.
    pub(crate) fn of(&self, statement: &str) -> usize {
        let connections = self.connections.lock().expect("no panic");
        let trips = |seen: &Arc<Mutex<Seen>>| {
            let seen = seen.lock().expect("no panic");
            if seen.prepared.contains(statement) { seen.trips } else { 0 }
        };
        connections.iter().map(trips).sum()
    }
}

/// Host and port in a URL.
fn server(url: &str) -> &str {
    let (_, rest) = url.split_once('@').expect("a user");
    rest.split_once('/').expect("a database").0
}

async fn relay(mut client: TcpStream, mut server: TcpStream, seen: Arc<Mutex<Seen>>) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let n = read.unwrap_or(0);
                seen.lock().expect("no panic").read(&up[..n]);
                if n == 0 || server.write_all(&up[..n]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let n = read.unwrap_or(0);
                if n == 0 || client.write_all(&down[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Seen {
    fn read(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        loop {
            let head = usize::from(self.started);
            let Some(length) = self.rest.get(head..head + 4) else { return };
            let length = head + u32::from_be_bytes(length.try_into().expect("four")) as usize;
            if self.rest.len() < length {
                return;
            }
            let message: Vec<u8> = self.rest.drain(..length).collect();
            match message[0] {
                _ if !self.started => self.started = message[4..8] == STARTUP,
                // Parse; Query and Sync wait for the server's answer
                b'P' => self.prepared.push_str(&String::from_utf8_lossy(&message[5..])),
                b'Q' | b'S' => self.trips += 1,
                _ => {}
            }
        }
    }
}
