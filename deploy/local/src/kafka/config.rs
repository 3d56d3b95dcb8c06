//! A broker's configuration, from where it listens. Pure but for [`Config::write`].

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

pub(super) const TEMPLATE: &str = include_str!("../../server.properties");
const ALONE: &str = include_str!("../../alone.properties");
const THREE: &str = include_str!("../../three.properties");
const LOG4J: &str = include_str!("../../log4j2.xml");

/// One listener of a broker, on 127.0.0.1.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    pub(super) name: String,
    /// Where it really listens.
    pub(super) port: u16,
    /// Where others are told to connect to: a proxy's port, or the same.
    pub(super) advertised: u16,
}

impl Listener {
    fn plain(name: &str, port: u16) -> Self {
        Self { name: name.into(), port, advertised: port }
    }
}

/// How many copies of everything there are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Copies {
    One,
    Three,
}

/// A node that is broker and controller.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) node: u8,
    /// What clients and other brokers connect to.
    pub(super) brokers: Vec<Listener>,
    /// The listener by which this node connects to other brokers.
    pub(super) between: String,
    /// What other nodes connect to for the quorum; by the first name this node connects to them.
    pub(super) controllers: Vec<Listener>,
    /// Nodes, and the ports at which this node finds their controllers.
    pub(super) voters: Vec<(u8, u16)>,
    pub(super) copies: Copies,
    /// Further settings; they win.
    pub(super) settings: Vec<(String, String)>,
}

impl Config {
    /// The only node.
    pub(super) fn alone(port: u16, controller_port: u16) -> Self {
        Self {
            node: 1,
            brokers: vec![Listener::plain("PLAINTEXT", port)],
            between: "PLAINTEXT".into(),
            controllers: vec![Listener::plain("CONTROLLER", controller_port)],
            voters: vec![(1, controller_port)],
            copies: Copies::One,
            settings: Vec::new(),
        }
    }

    /// The text of `server.properties`; the data lie in `data`.
    fn text(&self, data: &Path) -> String {
        let all = || self.brokers.iter().chain(&self.controllers);
        let address = |name: &str, port: u16| format!("{name}://127.0.0.1:{port}");
        let voters = self.voters.iter().map(|(node, port)| format!("{node}@127.0.0.1:{port}"));
        let mut text = TEMPLATE
            .replace("{node}", &self.node.to_string())
            .replace("{voters}", &list(voters))
            .replace("{listeners}", &list(all().map(|listener| address(&listener.name, listener.port))))
            .replace(
                "{advertised}",
                &list(all().map(|listener| address(&listener.name, listener.advertised))),
            )
            .replace("{protocols}", &list(all().map(|listener| format!("{}:PLAINTEXT", listener.name))))
            .replace("{controllers}", &list(self.controllers.iter().map(|listener| listener.name.clone())))
            .replace("{between}", &self.between)
            .replace("{data}", &data.display().to_string());
        text.push_str(match self.copies {
            Copies::One => ALONE,
            Copies::Three => THREE,
        });
        for (name, value) in &self.settings {
            let _ = writeln!(text, "{name}={value}");
        }
        text
    }

    /// The settings for a node that runs elsewhere, with folders of its own: in a container, whose network is
    /// not this machine's.
    fn elsewhere(&self) -> Vec<(String, String)> {
        let text = self.text(Path::new(""));
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let settings = lines.filter_map(|line| line.split_once('=')).filter(|(name, _)| *name != "log.dirs");
        let open = |(name, value): (&str, &str)| {
            let everywhere = name == "listeners";
            let value = if everywhere { value.replace("127.0.0.1", "0.0.0.0") } else { value.into() };
            (name.to_owned(), value)
        };
        settings.map(open).collect()
    }

    /// Writes it into a folder, whose `data` holds the logs; gives the path of the logging configuration.
    pub(super) fn write(&self, folder: &Path) -> Result<PathBuf> {
        let log4j = folder.join("log4j2.xml");
        fs::write(folder.join("server.properties"), self.text(&folder.join("data")))
            .and_then(|()| fs::write(&log4j, LOG4J))
            .map_err(Error::io(format!("writing Kafka's configuration to {}", folder.display())))?;
        Ok(log4j)
    }
}

/// The settings of [`crate::Kafka`] for a broker that runs elsewhere and is reached at this port of 127.0.0.1,
/// where it listens in its own network, too; for a container. Names as in `server.properties`.
#[must_use]
pub fn kafka_settings(port: u16, controller_port: u16) -> Vec<(String, String)> {
    Config::alone(port, controller_port).elsewhere()
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stays_unfilled_and_settings_come_last() {
        let mut config = Config::alone(20_001, 20_002);
        config.settings.push(("num.io.threads".into(), "9".into()));
        config.brokers.push(Listener { name: "SHOP".into(), port: 20_003, advertised: 20_004 });
        let text = config.text(Path::new("/somewhere"));
        assert!(!text.contains('{'), "{text}");
        for line in [
            "controller.quorum.voters=1@127.0.0.1:20002",
            "listeners=PLAINTEXT://127.0.0.1:20001,SHOP://127.0.0.1:20003,CONTROLLER://127.0.0.1:20002",
            "advertised.listeners=PLAINTEXT://127.0.0.1:20001,SHOP://127.0.0.1:20004,CONTROLLER://127.0.0.1:20002",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SHOP:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs=/somewhere",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("\nnum.io.threads=9\n"));
    }

    #[test]
    fn elsewhere_it_listens_on_every_address_and_is_reached_on_ours() {
        let settings = kafka_settings(20_001, 20_002);
        let value =
            |name: &str| settings.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        assert_eq!(value("listeners"), Some("PLAINTEXT://0.0.0.0:20001,CONTROLLER://0.0.0.0:20002"));
        let advertised = "PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002";
        assert_eq!(value("advertised.listeners"), Some(advertised));
        assert_eq!((value("log.dirs"), value("num.io.threads")), (None, Some("4")));
    }
}
