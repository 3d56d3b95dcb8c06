//! `skald payment reconcile`: the gateway's records against ours, page by page.

use std::time::SystemTime;

use skald_proto::payment::v1::ReconcileRequest;

use super::{Client, view};
use crate::{
    client::{Payment, Peer as _},
    exit::{Exit, Failure},
    operator::now,
    output::{self, Format, Rows, json, text},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is under way while it runs settles by itself and is no difference.

Exit codes: 0 all is the same, 1 something differs: each difference is named.

Example:
  skald payment reconcile --since 2d --until 2026-11-21")]
pub(super) struct Reconcile {
    /// The gateway's movements from then on, and the charges of orders made then or later: 2026-11-21, or an age such as 2d
    #[arg(long, value_name = "TIME", value_parser = text::point)]
    since: SystemTime,
    /// Until then; without it, until now
    #[arg(long, value_name = "TIME", value_parser = text::point)]
    until: Option<SystemTime>,
    /// Go on where one that was cut off had come to, with the same times
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    page_token: String,
    #[command(flatten)]
    server: Payment,
}

impl Reconcile {
    pub(super) fn format(&self) -> Format {
        self.server.format()
    }

    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let (format, mut rows) = (self.format(), Rows::new(self.format()));
        let mut client = Client::new(self.server.connect().await?);
        let request = ReconcileRequest {
            since: Some(self.since.into()),
            until: self.until.map(Into::into),
            page_size: 0,
            page_token: self.page_token.clone(),
        };
        let mut pages = client.reconcile(request).await?.into_inner();
        let (mut sum, mut token) = (view::Compared::default(), self.page_token);
        loop {
            let page = match pages.message().await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(status) => {
                    let failure = Failure::from(status);
                    return Err(
                        failure.advice(format!("go on with the same times and --page-token '{token}'"))
                    );
                }
            };
            sum.add(&page);
            page.differences.iter().try_for_each(|difference| rows.add(&json::message(difference)))?;
            if format == Format::Table {
                sum.differences.extend(page.differences);
            }
            token = page.next_page_token;
        }
        match format {
            Format::Table => output::line(&sum.text(now(), output::colours()))?,
            Format::Json | Format::Jsonl => {
                rows.add(&sum.json())?;
                rows.end()?;
            }
        }
        Ok(if sum.differing == 0 { Exit::Ok } else { Exit::Failed })
    }
}
