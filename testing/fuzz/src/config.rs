//! Settings from a file and the environment: used or refused with a message that names the place, and no secret stands in a
//! message or in the settings as they are shown.
//!
//! The input: a byte that says whose settings they are, the file's text, a line `---`, and a variable a line. `S3CR3T` in a value
//! stands for a secret.

use figment::Jail;
use serde::{Serialize, de::DeserializeOwned};
use skald_kit::config::{Error, Validate, effective_toml, load};

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "config",
    about: "settings from a file and the environment: errors name the place, no secret stands in any text",
    run,
    seeds,
    words: &[
        "S3CR3T",
        "[postgres]\n",
        "url = ",
        "[kafka]\n",
        "bootstrap_servers = ",
        "properties = { \"sasl.password\" = \"S3CR3T\" }",
        "[kafka.properties]\n",
        "\"ssl.key.pem\" = ",
        "[listen]\n",
        "grpc = ",
        "[participants]\n",
        "payment = ",
        "transport = ",
        "[driver]\n",
        "resend_gaps_ms = [",
        "SKALD_POSTGRES__URL=",
        "SKALD_KAFKA__PROPERTIES=",
        "SKALD_KAFKA=",
        "SKALD_POSTGRES=",
        "postgres://u:S3CR3T@h/d",
        "\n---\n",
        "[tls]\n",
        "[gateway]\n",
        "[breaker]\n",
        "'''",
        "\"\"\"",
    ],
};

const SECRET: &str = "S3CR3T";
/// Settings whose values are no secrets and are quoted, so that whoever misspelled them sees it.
const QUOTED: &[&str] = &["kafka.bootstrap_servers", "log.filter", "otlp.endpoint"];
/// The longest message, beside what it may quote of the input.
const WORDS: usize = 64 * 1024;

fn run(bytes: &[u8]) {
    let Some((whose, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (file, variables) = text.split_once("\n---\n").unwrap_or((text, ""));
    let settable = |(name, value): &(&str, &str)| {
        let named = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        named && name.starts_with("SKALD_") && !value.contains('\0')
    };
    let variables: Vec<(&str, &str)> =
        variables.lines().filter_map(|line| line.split_once('=')).filter(settable).collect();
    let given = Given { file, variables };
    match whose % 3 {
        0 => given.judge::<skald_server::Config>(),
        1 => given.judge::<skald_inventory::Config>(),
        _ => given.judge::<skald_payment::Config>(),
    }
}

/// A choice among words quotes what is none of them.
fn is_quoted(line: &str) -> bool {
    line.contains(": unknown variant: ") || QUOTED.iter().any(|key| line.starts_with(key))
}

struct Given<'a> {
    file: &'a str,
    variables: Vec<(&'a str, &'a str)>,
}

impl Given<'_> {
    fn judge<T: DeserializeOwned + Default + Validate + Serialize>(&self) {
        let said = match self.load::<T>() {
            Ok(settings) => return self.shown(&settings),
            Err(Error::File { path, source }) => panic!("{}: {source}", path.display()),
            Err(error) => error.to_string(),
        };
        assert!(!said.is_empty(), "a refusal says why");
        let given = self.file.len()
            + self.variables.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        assert!(said.len() <= WORDS + 8 * given, "{} bytes are said", said.len());
        if !self.is_a_key() {
            let leak = said.lines().find(|line| line.contains(SECRET) && !is_quoted(line));
            assert_eq!(leak, None, "a value stands in a message");
        }
    }

    #[allow(clippy::result_large_err, reason = "figment's own closure")]
    fn load<T: DeserializeOwned + Default + Validate>(&self) -> Result<T, Error> {
        let mut loaded = None;
        Jail::expect_with(|jail| {
            jail.clear_env();
            for (name, value) in &self.variables {
                jail.set_env(name, value);
            }
            jail.create_file("skald.toml", self.file)?;
            loaded = Some(load(Some("skald.toml".as_ref()), "SKALD_"));
            Ok(())
        });
        loaded.expect("the jail was entered")
    }

    /// Names are shown, and a secret for a name is nobody's.
    fn is_a_key(&self) -> bool {
        let key = |text: &str| {
            let behind = text.split(SECRET).skip(1).map(|rest| {
                rest.trim_start_matches(|c: char| {
                    c.is_alphanumeric() || matches!(c, '_' | '-' | '"' | '\'' | ' ' | '\\')
                })
            });
            behind.into_iter().any(|rest| rest.starts_with(['=', '.', ']', ':']))
        };
        key(self.file) || self.variables.iter().any(|(name, value)| name.contains(SECRET) || key(value))
    }

    /// What can be used can be shown, and read again as it was shown; passwords are not.
    fn shown<T: DeserializeOwned + Serialize>(&self, settings: &T) {
        let shown = effective_toml(settings);
        let again: T = toml::from_str(&shown).unwrap_or_else(|error| panic!("{error}\n{shown}"));
        assert_eq!(effective_toml(&again), shown, "shown as it was read");
        let table: toml::Table = toml::from_str(&shown).expect("it was read");
        let properties = table["kafka"].get("properties").and_then(toml::Value::as_table);
        for (name, value) in properties.into_iter().flatten() {
            let secret = ["password", "secret", "pem"].iter().any(|word| name.contains(word));
            assert!(!secret || value.as_str() == Some("***"), "{name} is shown");
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let of = |whose: u8, text: &str| [&[whose][..], text.as_bytes()].concat();
    let sections = "[postgres]\nurl = \"postgres://u:S3CR3T@h:5432/d\"\nmax_read_connections = 4\n[kafka]\nbootstrap_servers = \"a:1,b:2\"\n\
         topic_prefix = \"x.\"\npartitions = 8\nproperties = { \"security.protocol\" = \"SASL_SSL\", \"sasl.password\" = \"S3CR3T\" }\n\
         [listen]\ngrpc = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\n[log]\nformat = \"json\"\nfilter = \"info,x=debug\"\n[otlp]\n\
         endpoint = \"http://c:4317\"\nsample_ratio = 0.5\n[shutdown]\ndeadline_seconds = 20\n";
    let server = "[driver]\nworkers = 2\nbatch = 512\nresend_gaps_ms = [2000, 5000]\n[audit]\nrows_per_second = 2000.0\n[participants]\n\
         payment = \"p:1\"\ninventory = { address = \"i:1,j:2\", transport = \"grpc\", keepalive_seconds = 5 }\n";
    vec![
        of(
            0,
            &format!(
                "{sections}{server}\n---\nSKALD_POSTGRES__URL=postgres://u:S3CR3T@h/d\nSKALD_DRIVER__BATCH=9\n"
            ),
        ),
        of(1, &format!("{sections}[commands]\nkafka = true\ngrpc = false\n")),
        of(2, &format!("{sections}[calls]\nconcurrency = 8\ntimeout_ms = 1000\n")),
        of(
            0,
            "\n---\nSKALD_KAFKA__PROPERTIES={\"sasl.password\"=\"S3CR3T\"}\nSKALD_OTLP__SAMPLE_RATIO=0.5\n",
        ),
        // Once quoted in the message: a string that doesn't end, and values where something else belongs.
        of(0, "[postgres]\nurl = \"postgres://u:S3CR3T@h/d\n"),
        of(0, "postgres = \"postgres://u:S3CR3T@h/d\"\n"),
        of(2, "\n---\nSKALD_KAFKA__PROPERTIES={\"sasl.password\"=\"S3CR3T\"\n"),
        of(1, "\n---\nSKALD_POSTGRES__MAX_READ_CONNECTIONS=S3CR3T\n"),
    ]
}
