//! `[participants]`: where each participant is, and how commands go there.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, value::MapAccessDeserializer},
};
use skald_kit::config::{ClientTls, Problems};
use tonic::transport::Endpoint;

/// Who can't be reached within this is not there.
pub const CONNECT: Duration = Duration::from_secs(2);
/// Finds a peer that is frozen within ten seconds.
const KEEPALIVE_SECONDS: u32 = 5;
/// Bytes in flight per stream and per connection, from a participant to us: two full responses, so that it can go on while we
/// decide. Beyond, it waits.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// How commands go to a participant, and outcomes come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// Over its topics of commands and outcomes.
    #[default]
    Kafka,
    /// Over `skald.participant.v1.ParticipantService/Execute`.
    Grpc,
}

/// One participant. In a file either `payment = "host:port"` or a table of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Participant {
    /// `host:port` of its gRPC; several instances separated by commas. Where an explanation asks what it has of a saga, and
    /// where commands go with [`Via::Grpc`]. May be empty with Kafka.
    pub address: String,
    /// How commands go.
    pub transport: Via,
    /// TLS with it; absent: plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
    /// A ping after so many seconds without a frame, and an answer within so many again, finds a peer that vanished or is
    /// frozen, 1 to 3600. Servers of gRPC's C core and of Go must be told to permit pings as frequent as that.
    pub keepalive_seconds: u32,
}

impl Default for Participant {
    fn default() -> Self {
        let keepalive_seconds = KEEPALIVE_SECONDS;
        Participant { address: String::new(), transport: Via::Kafka, tls: None, keepalive_seconds }
    }
}

impl Participant {
    /// One whose commands go over Kafka, and whose own desk is there.
    pub fn at(address: impl Into<String>) -> Participant {
        Participant { address: address.into(), ..Participant::default() }
    }

    /// Its instances, `host:port`.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.address.split(',').map(str::trim).filter(|address| !address.is_empty())
    }

    /// How an instance is connected to.
    ///
    /// # Errors
    /// The address is none, or a file of TLS is not there.
    pub fn endpoint(&self, address: &str) -> anyhow::Result<Endpoint> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let keepalive = Duration::from_secs(self.keepalive_seconds.into());
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(keepalive)
            .keep_alive_timeout(keepalive)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        self.tls.as_ref().map_or(Ok(endpoint.clone()), |tls| tls.apply(endpoint))
    }

    pub(super) fn validate(&self, problems: &mut Problems, key: &str) {
        let is_address = |address: &str| {
            address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        problems.check(
            self.addresses().all(is_address),
            key,
            "must be host:port, several separated by commas",
        );
        if let Some(tls) = &self.tls {
            problems.part(&format!("{key}.tls"), tls);
        }
        let keepalive = (1..=3600).contains(&self.keepalive_seconds);
        problems.check(keepalive, &format!("{key}.keepalive_seconds"), "allowed are 1 to 3600");
        let somewhere = self.addresses().next().is_some();
        problems.check(
            somewhere || self.transport == Via::Kafka,
            &format!("{key}.address"),
            "is missing: with transport = \"grpc\" commands go there",
        );
    }
}

impl<'de> Deserialize<'de> for Participant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// An address alone, or a table.
struct Either;

impl<'de> de::Visitor<'de> for Either {
    type Value = Participant;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("host:port, or a table with address and transport")
    }

    fn visit_str<E: de::Error>(self, address: &str) -> Result<Participant, E> {
        Ok(Participant::at(address))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Participant, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            #[serde(default)]
            address: String,
            #[serde(default)]
            transport: Via,
            tls: Option<ClientTls>,
            keepalive_seconds: Option<u32>,
        }
        let Table { address, transport, tls, keepalive_seconds } =
            Table::deserialize(MapAccessDeserializer::new(map))?;
        let keepalive_seconds = keepalive_seconds.unwrap_or(KEEPALIVE_SECONDS);
        Ok(Participant { address, transport, tls, keepalive_seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Participant {
        let config: Config = toml::from_str(&format!("[participants]\n{text}")).unwrap();
        config.participants["payment"].clone()
    }

    fn problems(participant: &Participant) -> String {
        let mut problems = Problems::default();
        participant.validate(&mut problems, "participants.payment");
        problems.to_string()
    }

    #[test]
    fn a_short_form_and_a_table() {
        let grpc = |address: &str| Participant {
            address: address.into(),
            transport: Via::Grpc,
            ..Participant::default()
        };
        assert_eq!(read("payment = \"p:1\""), Participant::at("p:1"));
        assert_eq!(read("payment = { address = \"p:1\" }"), Participant::at("p:1"));
        assert_eq!(read("payment.transport = \"grpc\"\npayment.address = \"p:1\""), grpc("p:1"));
        assert_eq!(read("payment.transport = \"kafka\""), Participant::default());
        let two = grpc("p:1, q:2");
        assert_eq!(two.addresses().collect::<Vec<_>>(), ["p:1", "q:2"]);
        let unknown = toml::from_str::<Config>("[participants.payment]\nport = 1").unwrap_err();
        assert!(unknown.to_string().contains("unknown field `port`"), "{unknown}");
    }

    #[test]
    fn what_is_shown_can_be_read() {
        let mut config = Config::default();
        let tls = ClientTls { ca: "ca.pem".into(), domain: None, certificate: None, key: None };
        let grpc =
            Participant { address: "p:1".into(), transport: Via::Grpc, tls: Some(tls), keepalive_seconds: 7 };
        config.participants = [("payment".to_owned(), grpc.clone())].into();
        let shown = skald_kit::config::effective_toml(&config);
        assert_eq!(toml::from_str::<Config>(&shown).unwrap().participants["payment"], grpc);
    }

    #[test]
    fn an_address_is_needed_where_commands_go() {
        for good in [read("payment = \"p:1\""), Participant::default(), read("payment = \"p:1,q:2\"")] {
            assert_eq!(problems(&good), "");
        }
        for bad in ["p", ":1", "p:x", "p:1,q"] {
            assert!(problems(&Participant::at(bad)).contains("host:port"), "{bad}");
        }
        let restless = Participant { keepalive_seconds: 0, ..Participant::default() };
        assert!(problems(&restless).contains("keepalive_seconds"), "{}", problems(&restless));
        let nowhere = Participant { transport: Via::Grpc, ..Participant::default() };
        assert!(problems(&nowhere).contains("participants.payment.address"), "{}", problems(&nowhere));
    }
}
