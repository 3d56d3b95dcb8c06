//! `skald conformance`: tells a participant in any language whether it keeps the protocol's promises. The rules and the ways to
//! the participant are in `skald-conformance`; this room reads the command line, prints, and kills and restarts on request.

mod hooks;
pub mod view;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use skald_conformance::{Brokers, MARK, Options, Report, Samples, Stand, Transport, rules};
use skald_kit::config;

use crate::{
    exit::{Exit, Failure},
    output::{self, Format, Rows},
};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The samples: which actions there are, and what to send so that each succeeds or is rejected. TOML, or .json
    #[arg(value_name = "SAMPLES", required_unless_present = "list")]
    samples: Option<PathBuf>,
    /// Speak to it over gRPC: the address of its ParticipantService, host:port
    #[arg(long, value_name = "ADDR", conflicts_with = "brokers", required_unless_present_any = ["brokers", "list"])]
    address: Option<String>,
    /// Speak to it over Kafka: bootstrap servers
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// Before the names of its topics and of its consumer group
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, requires = "brokers")]
    topic_prefix: String,
    /// Its consumer group, without the prefix [default: skald.PARTICIPANT]
    #[arg(long, value_name = "NAME", requires = "brokers")]
    group: Option<String>,
    /// For librdkafka, such as security.protocol=SASL_SSL; may be given often
    #[arg(long = "kafka-property", value_name = "NAME=VALUE", value_parser = property, requires = "brokers")]
    properties: Vec<(String, String)>,
    #[command(flatten)]
    crash: hooks::Crash,
    /// This rule alone; may be given often
    #[arg(long = "rule", value_name = "NAME")]
    rules: Vec<String>,
    /// How long an answer may take, such as 30s
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30s")]
    patience: Duration,
    /// How long after it was killed, when a consumer group has to notice first
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "90s")]
    after_crash: Duration,
    /// Show the rules and end
    #[arg(long)]
    list: bool,
    /// table, or json: one object per line
    #[arg(long, short, value_enum, value_name = "FORMAT", hide_possible_values = true, default_value_t = Format::Table)]
    output: Format,
}

const HELP: &str = "\
It sends real commands, for sagas of its own: use an installation for tests. An orchestrator that reads the same outcomes puts
them aside as dead letters. What succeeded and was not undone stays; every step that it uses begins with conformance-, so
that its rows can be found:
  select * from skald.barrier where step like 'conformance-%'

Exit codes: 0 no rule failed, 1 a rule failed: each with what was seen and which promise breaks, 2 the samples are wrong,
5 nobody answers. A rule that could not be judged is SKIPPED, with the reason.

Examples:
  skald conformance inventory.toml --address 127.0.0.1:7080
  skald conformance inventory.toml --brokers 127.0.0.1:9092 --kill-hook 'kill -9 $(cat pid)' --restart-hook './start &'
  skald conformance loyalty.toml --address 127.0.0.1:7100 --ask --rule crash
  skald conformance --list";

fn property(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        self.output
    }

    async fn transport(&self, participant: &str) -> Result<Transport, String> {
        match (&self.address, &self.brokers) {
            (Some(address), _) => Transport::grpc(&format!("http://{address}")),
            (None, servers) => {
                let kafka = config::Kafka {
                    bootstrap_servers: servers.clone().unwrap_or_default(),
                    topic_prefix: self.topic_prefix.clone(),
                    properties: self.properties.iter().cloned().collect::<BTreeMap<_, _>>(),
                    ..Default::default()
                };
                Transport::kafka(Brokers { kafka, group: self.group.clone() }, participant).await
            }
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    if args.list {
        output::show(args.output, view::rules_json, view::rules)?;
        return Ok(Exit::Ok);
    }
    let usage = |error: String| Failure::new(Exit::Usage, error);
    if let Some(unknown) = args.rules.iter().find(|name| !rules::all().any(|rule| rule.name == **name)) {
        return Err(
            usage(format!("there is no rule {unknown:?}")).advice("`skald conformance --list` shows them")
        );
    }
    let samples =
        Samples::read(args.samples.as_deref().unwrap_or(std::path::Path::new(""))).map_err(usage)?;
    let away = |error: String| Failure::new(Exit::Unavailable, error);
    let transport = args.transport(&samples.participant).await.map_err(away)?;
    let options = Options {
        patience: args.patience,
        after_crash: args.after_crash,
        only: args.rules.clone(),
        ..Options::default()
    };
    let mut stand = Stand::new(transport, samples, options, args.crash.hooks());
    let colours = output::colours();
    let (mut rows, mut shown) = (Rows::new(args.output), Ok(()));
    let report = stand
        .judge_all(|finding| {
            let line = match args.output {
                Format::Json | Format::Jsonl => rows.add(&finding.json()),
                Format::Table => output::line(&view::line(finding, colours)),
            };
            shown = std::mem::replace(&mut shown, Ok(())).and(line);
        })
        .await
        .map_err(|error| away(error).advice("is it up, and is this its name?"))?;
    shown?;
    end(&report, args.output, rows, colours)
}

fn end(report: &Report, format: Format, mut rows: Rows, colours: bool) -> Result<Exit, Failure> {
    if format == Format::Table {
        output::line(&view::end(report, colours))?;
        output::line(&format!("left behind: sagas of these rules, steps that begin with {MARK}"))?;
    } else {
        rows.add(&report.json())?;
        rows.end()?;
    }
    Ok(if report.failed() == 0 { Exit::Ok } else { Exit::Failed })
}
