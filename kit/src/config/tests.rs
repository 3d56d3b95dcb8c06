//! Where a bad setting stands must be clear from the one line that reports it.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    postgres: Postgres,
    kafka: Kafka,
    listen: Listen,
    log: Log,
    otlp: Otlp,
    shutdown: Shutdown,
}

impl Validate for Settings {
    fn validate(&self, problems: &mut Problems) {
        problems.part("postgres", &self.postgres);
        problems.part("kafka", &self.kafka);
        problems.part("listen", &self.listen);
        problems.part("log", &self.log);
        problems.part("otlp", &self.otlp);
        problems.part("shutdown", &self.shutdown);
    }
}

fn from_file(text: &str) -> Result<Settings, Error> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    load(Some(file.path()), "SKALD_NOBODY_SETS_THIS_")
}

/// Variables are given as the process would have them; only a prefix of its own keeps tests apart.
#[allow(clippy::result_large_err, reason = "figment's own closure")]
fn from_env(prefix: &str, variables: &[(&str, &str)]) -> Result<Settings, Error> {
    let mut loaded = None;
    figment::Jail::expect_with(|jail| {
        for (name, value) in variables {
            jail.set_env(format!("{prefix}{name}"), value);
        }
        loaded = Some(load(None, prefix));
        Ok(())
    });
    loaded.unwrap()
}

#[test]
fn defaults_are_valid_and_printable() {
    let settings: Settings = load(None, "SKALD_NOBODY_SETS_THIS_").unwrap();
    let text = effective_toml(&settings);
    let again: Settings = toml::from_str(&text).unwrap();
    assert_eq!(effective_toml(&again), text);
}

#[test]
fn the_environment_wins_over_the_file_and_secrets_are_hidden() {
    let settings = from_env(
        "SKALDT1_",
        &[
            ("POSTGRES__URL", "postgres://bob:hush@db/orders"),
            ("POSTGRES__MAX_READ_CONNECTIONS", "3"),
            ("LISTEN__GRPC", "127.0.0.1:0"),
            ("LOG__FORMAT", "json"),
            ("KAFKA__PROPERTIES", r#"{"fetch.min.bytes"=5}"#),
            ("BUDGET", "ci"),
        ],
    )
    .unwrap();
    assert_eq!(settings.postgres.url.expose(), "postgres://bob:hush@db/orders");
    assert_eq!(settings.postgres.max_read_connections, 3);
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.kafka.properties, BTreeMap::from([("fetch.min.bytes".to_owned(), "5".to_owned())]));
    let shown = effective_toml(&settings) + &format!("{settings:?}");
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains("postgres://bob:***@db/orders"), "{shown}");
}

#[test]
fn an_unknown_key_names_itself_and_its_file() {
    let error = from_file("[postgres]\nulr = \"x\"\n").unwrap_err().to_string();
    assert!(error.starts_with("postgres.ulr (file /"), "{error}");
    assert!(error.ends_with("unknown setting; known are: url, max_read_connections"), "{error}");
    let error = from_file("[postgers]\nurl = \"x\"\n").unwrap_err().to_string();
    assert!(error.starts_with("postgers (file /"), "{error}");
}

#[test]
fn an_unknown_variable_names_itself() {
    let error = from_env("SKALDT2_", &[("KAFKA__PARTITION", "4")]).unwrap_err().to_string();
    assert!(
        error.starts_with("kafka.partition (variable SKALDT2_KAFKA__PARTITION): unknown setting"),
        "{error}"
    );
    let error = from_env("SKALDT3_", &[("KAFKA__PARTITIONS", "many")]).unwrap_err().to_string();
    assert!(
        error.starts_with("kafka.partitions (variable SKALDT3_KAFKA__PARTITIONS): invalid type"),
        "{error}"
    );
}

#[test]
fn all_bad_values_are_reported_at_once() {
    let error = from_file(
        "[postgres]\nurl = 'mysql://x'\nmax_read_connections = 0\n[kafka]\nbootstrap_servers = 'nowhere'\npartitions = 0\n\
         properties = { 'group.id' = 'mine' }\n[log]\nfilter = 'a=b=c'\n[otlp]\nsample_ratio = 1.5\n[shutdown]\ndeadline_seconds = 0\n",
    )
    .unwrap_err();
    let Error::Invalid(problems) = error else { panic!("{error}") };
    let fields: Vec<&str> = problems.lines().iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        fields,
        [
            "postgres.url",
            "postgres.max_read_connections",
            "kafka.bootstrap_servers",
            "kafka.partitions",
            "kafka.properties",
            "log.filter",
            "otlp.sample_ratio",
            "shutdown.deadline_seconds",
        ]
    );
}

#[test]
fn a_file_that_is_not_there_or_no_toml_is_named() {
    let missing = load::<Settings>(Some(Path::new("not/there.toml")), "SKALDT4_").unwrap_err().to_string();
    assert!(missing.starts_with("configuration file not/there.toml: "), "{missing}");
    let error = from_file("[postgres\n").unwrap_err().to_string();
    assert!(error.starts_with("file /"), "{error}");
}

#[test]
fn no_secret_stands_in_a_message_or_in_what_is_shown() {
    for text in [
        "[postgres]\nurl = \"postgres://bob:hush@db/orders\n",
        "[postgres]\nurl = \"postgres://bob:hush@db/orders\" x\n",
        "postgres = \"postgres://bob:hush@db/orders\"\n",
        "[kafka]\nproperties = \"sasl.password=hush\"\n",
        "[kafka]\npartitions = \"hush\"\n",
    ] {
        let error = from_file(text).unwrap_err().to_string();
        assert!(!error.contains("hush") && error.starts_with(|c: char| c.is_ascii_lowercase()), "{error}");
    }
    let line = from_file("[postgres]\nmax_read_connections = 3\nurl = \"hush\n").unwrap_err().to_string();
    assert!(line.contains(": line 3, column "), "{line}");
    // What is no TOML in a variable is a text, and stands where something else belongs.
    let cut = from_env("SKALDT5_", &[("KAFKA__PROPERTIES", "{\"sasl.password\"=\"hush\"")])
        .unwrap_err()
        .to_string();
    assert!(cut.starts_with("kafka.properties (variable SKALDT5_KAFKA__PROPERTIES): invalid type"), "{cut}");
    assert!(!cut.contains("hush"), "{cut}");

    let settings = from_file(
        "[kafka.properties]\n\"sasl.password\" = \"hush\"\n\"ssl.key.pem\" = \"hush\"\n\"sasl.oauthbearer.client.secret\" = \"hush\"\n\
         \"security.protocol\" = \"SASL_SSL\"\n",
    )
    .unwrap();
    let shown = effective_toml(&settings);
    assert!(!shown.contains("hush") && shown.contains("SASL_SSL"), "{shown}");
    assert_eq!(settings.kafka.properties["sasl.password"], "hush");
}
