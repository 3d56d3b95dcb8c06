//! A wire between two processes: a TCP proxy that can cut, hold back, delay and narrow what it carries, and lose answers to
//! requests that it has passed on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// Read at once.
const CHUNK: usize = 1 << 14;
/// How PostgreSQL's clients say it.
const COMMIT: &[u8] = b"COMMIT\0";

/// What a wire does to what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Carries it.
    Fair,
    /// Connections break, new ones too.
    Cut,
    /// Nothing comes through and nothing breaks: a partition. Afterwards all of it comes.
    Mute,
    /// Each piece comes so much later.
    Late(Duration),
    /// So many bytes a second come through, in each direction.
    Narrow(u64),
    /// Each so-manieth request is passed on, and the connection breaks instead of its answer.
    AnswersLost(u64),
}

/// What kind of requests count on a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requests {
    /// Any bytes.
    All,
    /// PostgreSQL's COMMIT: whoever lost its answer does not know what happened.
    Commits,
}

/// One wire; it is there as long as this is.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Where it begins, on 127.0.0.1.
    pub(crate) port: u16,
    shared: Arc<Shared>,
    _carrying: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    to: u16,
    requests: Requests,
    weather: watch::Sender<Weather>,
    answers: AtomicU64,
    touched: AtomicU64,
}

impl Wire {
    /// From a port of its own to this one. Who is to be at the other end need not be there yet.
    ///
    /// # Errors
    /// The port is taken.
    pub(crate) async fn lay(port: u16, to: u16, requests: Requests) -> Result<Wire> {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .with_context(|| format!("a wire from port {port}"))?;
        let shared = Arc::new(Shared {
            to,
            requests,
            weather: watch::Sender::new(Weather::Fair),
            answers: AtomicU64::new(0),
            touched: AtomicU64::new(0),
        });
        let mut carrying = JoinSet::new();
        carrying.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Wire { port, shared, _carrying: carrying })
    }

    /// From now on.
    pub(crate) fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    /// Connections that broke, pieces that were held back or came late, so far.
    pub(crate) fn touched(&self) -> u64 {
        self.shared.touched.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((client, _)) = listener.accept().await {
            connections.spawn(connection(client, Arc::clone(&shared)));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let mut weather = shared.weather.subscribe();
    // The one that calls into a partition hears nothing, not even that nobody is there.
    if weather.wait_for(|weather| *weather != Weather::Mute).await.is_err()
        || *weather.borrow() == Weather::Cut
    {
        shared.touch();
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.to)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let asked = AtomicBool::new(false);
    let up = Lane { shared: &shared, asked: &asked, up: true };
    let down = Lane { shared: &shared, asked: &asked, up: false };
    tokio::select! {
        () = up.carry(from_client, to_server) => {}
        () = down.carry(from_server, to_client) => {}
        _ = weather.wait_for(|weather| *weather == Weather::Cut) => shared.touch(),
    }
}

impl Shared {
    fn touch(&self) {
        self.touched.fetch_add(1, Ordering::Relaxed);
    }
}

/// One direction of a connection.
struct Lane<'a> {
    shared: &'a Shared,
    /// A request was passed on that has no answer yet.
    asked: &'a AtomicBool,
    up: bool,
}

impl Lane<'_> {
    /// Until either side has gone, or the weather breaks it.
    async fn carry(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; CHUNK];
        let mut weather = self.shared.weather.subscribe();
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let piece = &buffer[..read];
            if !self.passes(piece, &mut weather).await || to.write_all(piece).await.is_err() {
                return;
            }
            if self.up && (self.shared.requests == Requests::All || contains(piece, COMMIT)) {
                self.asked.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Waits as long as the weather wants; false = the connection breaks here.
    async fn passes(&self, piece: &[u8], weather: &mut watch::Receiver<Weather>) -> bool {
        let now = *weather.borrow_and_update();
        match now {
            Weather::Fair => {}
            Weather::Cut => return false,
            Weather::Mute => {
                self.shared.touch();
                return weather.wait_for(|weather| *weather != Weather::Mute).await.is_ok();
            }
            Weather::Late(by) => {
                self.shared.touch();
                tokio::time::sleep(by).await;
            }
            Weather::Narrow(rate) => {
                self.shared.touch();
                let nanos = piece.len() as u64 * 1_000_000_000 / rate.max(1);
                tokio::time::sleep(Duration::from_nanos(nanos)).await;
            }
            Weather::AnswersLost(each) => {
                if !self.up && self.asked.swap(false, Ordering::Relaxed) {
                    let n = self.shared.answers.fetch_add(1, Ordering::Relaxed) + 1;
                    if n.is_multiple_of(each) {
                        self.shared.touch();
                        return false;
                    }
                }
            }
        }
        true
    }
}

fn contains(piece: &[u8], needle: &[u8]) -> bool {
    piece.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each piece with itself.
    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 64];
                    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                        stream.write_all(&buffer[..read]).await.expect("written");
                    }
                });
            }
        });
        port
    }

    async fn wire(requests: Requests) -> Wire {
        let port = skald_local::free_port().expect("a port");
        Wire::lay(port, echo().await, requests).await.expect("laid")
    }

    async fn call(wire: &Wire) -> TcpStream {
        TcpStream::connect(("127.0.0.1", wire.port)).await.expect("somebody is there")
    }

    /// What comes back; nothing when the connection broke.
    async fn say(stream: &mut TcpStream, what: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 64];
        if stream.write_all(what).await.is_err() {
            return Vec::new();
        }
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        buffer[..read].to_vec()
    }

    #[tokio::test]
    async fn fair_weather_carries_and_a_cut_breaks_old_and_new_connections() {
        let wire = wire(Requests::All).await;
        let mut old = call(&wire).await;
        assert_eq!(say(&mut old, b"hello").await, b"hello");
        wire.set(Weather::Cut);
        assert_eq!(say(&mut old, b"hello").await, b"");
        assert_eq!(say(&mut call(&wire).await, b"hello").await, b"");
        assert!(wire.touched() >= 2, "{}", wire.touched());
        wire.set(Weather::Fair);
        assert_eq!(say(&mut call(&wire).await, b"hello").await, b"hello");
    }

    #[tokio::test]
    async fn what_a_partition_holds_back_comes_when_it_ends() {
        let wire = wire(Requests::All).await;
        let mut old = call(&wire).await;
        assert_eq!(say(&mut old, b"before").await, b"before");
        wire.set(Weather::Mute);
        let (mut new, mut buffer) = (call(&wire).await, [0; 64]);
        new.write_all(b"new").await.expect("taken");
        old.write_all(b"old").await.expect("taken");
        assert!(old.try_read(&mut buffer).is_err(), "nothing came");
        while wire.touched() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(old.try_read(&mut buffer).is_err(), "nothing came");
        wire.set(Weather::Fair);
        assert_eq!(say(&mut old, b"").await, b"old");
        assert_eq!(say(&mut new, b"").await, b"new");
    }

    #[tokio::test]
    async fn the_answer_to_a_commit_is_lost_and_no_other() {
        let wire = wire(Requests::Commits).await;
        wire.set(Weather::AnswersLost(2));
        let mut stream = call(&wire).await;
        for said in [&b"select\0"[..], b"COMMIT\0", b"select\0", b"select\0"] {
            assert_eq!(say(&mut stream, said).await, said);
        }
        assert_eq!(say(&mut stream, b"COMMIT\0").await, b"", "the second COMMIT's answer");
        assert_eq!(wire.touched(), 1);
    }

    #[tokio::test]
    async fn narrow_and_late_wires_carry_everything() {
        let wire = wire(Requests::All).await;
        for weather in [Weather::Narrow(10_000), Weather::Late(Duration::from_millis(1))] {
            wire.set(weather);
            assert_eq!(say(&mut call(&wire).await, b"slowly").await, b"slowly");
        }
        assert!(wire.touched() >= 4);
    }
}
