//! HTTP/2 as far as a rude client needs it: it says hello, or nothing, and then neither reads nor answers. And a line that is slow.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What a client says first: the preface, and settings without any.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// A connection that takes a place and gives nothing for it.
#[derive(Debug)]
pub(super) struct Rude(TcpStream);

impl Rude {
    /// It says nothing.
    pub(super) async fn connected(address: &str) -> Rude {
        Rude(TcpStream::connect(address).await.expect("it listens"))
    }

    /// It said hello and was answered.
    pub(super) async fn greeted(address: &str) -> Rude {
        Rude::try_greeted(address).await.expect("the server's settings")
    }

    /// It said hello; None: nobody answered, and the connection was closed.
    pub(super) async fn try_greeted(address: &str) -> Option<Rude> {
        let Rude(mut stream) = Rude::connected(address).await;
        stream.write_all(HELLO).await.ok()?;
        stream.read_exact(&mut [0; 9]).await.ok()?;
        Some(Rude(stream))
    }

    /// Waits until the server has had enough of it. It reads what comes, pings too, and answers nothing.
    pub(super) async fn shown_out(mut self, limit: Duration) {
        let mut ignored = [0; 1024];
        let gone = async { while matches!(self.0.read(&mut ignored).await, Ok(1..)) {} };
        tokio::time::timeout(limit, gone).await.expect("the server ends the connection");
    }
}

/// The address of a line to `to`, over which a byte goes every millisecond or two; answers come at once.
pub(super) async fn slow_line(to: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, to) = (listener.local_addr().expect("bound").to_string(), to.to_owned());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(&to).await else { return };
            let (mut asked, mut answers) = client.into_split();
            let (mut answered, mut asks) = server.into_split();
            tokio::spawn(async move {
                let mut byte = [0; 1];
                while let Ok(1) = asked.read(&mut byte).await {
                    if asks.write_all(&byte).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
            tokio::spawn(async move { tokio::io::copy(&mut answered, &mut answers).await });
        }
    });
    address
}
