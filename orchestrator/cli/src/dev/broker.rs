//! A Kafka broker inside this process: librdkafka's mock broker. For trying out: it keeps messages in memory alone, 5 MiB
//! per partition, and forgets them when it stops.
#![allow(
    unsafe_code,
    reason = "rdkafka has no safe calls for a group's first rebalance delay and for adding a broker"
)]

use anyhow::Context as _;
use rdkafka::{
    ClientConfig,
    config::RDKafkaLogLevel,
    producer::{BaseProducer, Producer as _},
};
use skald_kit::kafka::Topic;

/// A group's first member would wait three seconds for others; here nobody else comes.
const FIRST_REBALANCE_MS: i32 = 0;

/// The mock cluster names broker 0 as its controller and makes brokers from 1 on. Without a controller, a question that the
/// mock does not know (topics' settings) waits ten seconds for one instead of being refused at once.
const CONTROLLER: i32 = 0;

/// The broker lives as long as this.
pub(super) struct Broker {
    /// Owns the mock cluster; sends nothing.
    owner: BaseProducer,
}

impl Broker {
    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// librdkafka refuses.
    pub(super) fn start() -> anyhow::Result<Broker> {
        let owner: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .set_log_level(RDKafkaLogLevel::Error)
            .create()
            .context("the broker in this process")?;
        let handle = owner.client().native_ptr();
        // SAFETY: `handle` is the live client that `owner` keeps; it was made with test.mock.num.brokers, so the cluster
        // that it gives is its own, lives as long as it, and is checked for null before it is used.
        unsafe {
            let cluster = rdkafka_sys::rd_kafka_handle_mock_cluster(handle);
            anyhow::ensure!(!cluster.is_null(), "librdkafka made no broker");
            rdkafka_sys::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, FIRST_REBALANCE_MS);
            let added = rdkafka_sys::rd_kafka_mock_broker_add(cluster, CONTROLLER);
            anyhow::ensure!(
                added == rdkafka_sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
                "librdkafka added no controller: {added:?}"
            );
        }
        Ok(Broker { owner })
    }

    /// `host:port`.
    pub(super) fn bootstrap_servers(&self) -> String {
        self.owner.client().mock_cluster().map(|cluster| cluster.bootstrap_servers()).unwrap_or_default()
    }

    /// Makes topics: it knows no CreateTopics, and would make missing ones with a partition count of its own.
    ///
    /// # Errors
    /// librdkafka refuses one.
    pub(super) fn create(&self, topics: &[Topic]) -> anyhow::Result<()> {
        let cluster = self.owner.client().mock_cluster().context("librdkafka made no broker")?;
        for topic in topics {
            let made = cluster.create_topic(&topic.name, topic.partitions, 1);
            made.with_context(|| format!("topic {} in the broker of this process", topic.name))?;
        }
        Ok(())
    }
}
