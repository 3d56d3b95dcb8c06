//! Connections as they are accepted: so many at once, none that says nothing, and an accept that fails, as it does when the
//! process has no file descriptor left, ends nothing. (tonic's own listener ends the server then.)

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Files that are not clients: databases, brokers, logs.
const OTHER_FILES: usize = 256;
/// After an accept that failed: descriptors come back when others leave.
const PAUSE: Duration = Duration::from_millis(100);
/// What an HTTP/2 client says first, bytes.
const PREFACE: usize = 24;

/// Accepted connections, without an end and without errors.
pub(super) fn incoming(
    listener: TcpListener,
    most: u32,
    hello: Duration,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(places(most)));
    stream::unfold((listener, places), move |(listener, places)| async move {
        let connection = next(&listener, &places, hello).await;
        Some((Ok(connection), (listener, places)))
    })
}

/// As many as the setting says, unless the process may not open as many files.
fn places(most: u32) -> usize {
    let most = most as usize;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = limit.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    let room = files.saturating_sub(OTHER_FILES).max(16);
    if room < most {
        tracing::info!(
            files,
            connections = room,
            "fewer gRPC connections than grpc.max_connections, for `ulimit -n` allows no more"
        );
    }
    room.min(most)
}

async fn next(listener: &TcpListener, places: &Arc<Semaphore>, hello: Duration) -> Connection {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match Arc::clone(places).try_acquire_owned() {
                Ok(place) => return Connection::new(stream, place, hello),
                Err(_) => {
                    metrics::counter!("skald_grpc_connections_refused_total").increment(1);
                    tracing::debug!("a connection too many");
                }
            },
            Err(error) if is_its_own(&error) => {}
            Err(error) => {
                metrics::counter!("skald_grpc_accept_errors_total").increment(1);
                tracing::warn!(%error, "no gRPC connection can be accepted for now");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The client was gone before it was accepted.
fn is_its_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// A client's connection, and its place among those that may be open.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Until it has said that it speaks HTTP/2, and how many bytes of that are missing.
    hello: Option<(Pin<Box<Sleep>>, usize)>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, hello: Duration) -> Connection {
        // Small answers must not wait for more.
        let _ = stream.set_nodelay(true);
        let hello = Some((Box::pin(tokio::time::sleep(hello)), PREFACE));
        Connection { stream, hello, _place: place }
    }

    /// Whoever says nothing is shown out.
    fn poll_hello(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let late = self.hello.as_mut().is_some_and(|(late, _)| late.as_mut().poll(cx).is_ready());
        if late { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, to);
        if let Some((_, missing)) = &mut self.hello {
            *missing = missing.saturating_sub(to.filled().len() - before);
            if *missing == 0 {
                self.hello = None;
            }
        }
        match read {
            Poll::Pending => match self.poll_hello(cx) {
                Ok(()) => Poll::Pending,
                Err(late) => Poll::Ready(Err(late)),
            },
            ready => ready,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}
