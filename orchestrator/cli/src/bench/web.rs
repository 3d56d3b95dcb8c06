//! Asks a service over plain HTTP: is it ready, and what do its metrics say.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One question.
const ASK: Duration = Duration::from_secs(5);

/// Status code and body of `GET path` on 127.0.0.1.
pub(super) async fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(ASK, ask).await.context("no answer over HTTP")??;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("no HTTP answer") };
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
    Ok((code, body.to_owned()))
}

/// Sums and counts of histograms, by name, over all their labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// From Prometheus' text format.
    pub(super) fn parse(text: &str) -> Self {
        let mut sums = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let name = series.split('{').next().unwrap_or(series);
            if let Ok(value) = value.parse::<f64>() {
                *sums.entry(name.to_owned()).or_default() += value;
            }
        }
        Self(sums)
    }

    /// The mean of what a histogram counted since `before`.
    pub(super) fn mean_since(&self, before: &Metrics, histogram: &str) -> Option<f64> {
        let since = |suffix: &str| {
            let value = |all: &Metrics| all.0.get(&format!("{histogram}{suffix}")).copied().unwrap_or(0.0);
            value(self) - value(before)
        };
        let count = since("_count");
        (count > 0.0).then(|| since("_sum") / count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_over_all_labels_and_since_before() {
        let before = Metrics::parse("# TYPE x histogram\nx_sum 10\nx_count 5\n");
        let text = "x_bucket{le=\"1\"} 3\nx_sum{a=\"b\"} 60\nx_count{a=\"b\"} 10\nx_sum 50\nx_count 5\n";
        assert_eq!(Metrics::parse(text).mean_since(&before, "x"), Some(10.0));
        assert_eq!(before.mean_since(&before, "x"), None);
        assert_eq!(before.mean_since(&Metrics::default(), "y"), None);
    }

    #[tokio::test]
    async fn an_answer_is_taken_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(buffer[..read].starts_with(b"GET /health/ready "));
            stream.write_all(b"HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\nDOWN").await.unwrap();
        });
        assert_eq!(get(port, "/health/ready").await.unwrap(), (503, "DOWN".to_owned()));
    }
}
