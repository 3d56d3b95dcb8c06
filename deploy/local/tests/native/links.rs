//! Proxies stand between the nodes of a cluster and its clients: what they cut is cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;
use skald_local::{Cluster, ClusterOptions};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::cluster::{LONG, TOPIC, Told, producer};
use crate::folder;

/// Forwards connections to a port, unless it is cut.
struct Link {
    port: u16,
    cut: watch::Sender<bool>,
    connections: Arc<AtomicU32>,
}

impl Link {
    async fn to(target: u16) -> Self {
        let port = skald_local::free_port().expect("a port");
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("bound");
        let (cut, is_cut) = watch::channel(false);
        let connections = Arc::new(AtomicU32::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(forward(near, target, is_cut.clone(), count.clone()));
            }
        });
        Self { port, cut, connections }
    }
}

/// Until one side ends or the link is cut.
async fn forward(mut near: TcpStream, target: u16, mut cut: watch::Receiver<bool>, count: Arc<AtomicU32>) {
    if *cut.borrow() {
        return;
    }
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    count.fetch_add(1, Ordering::Relaxed);
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = cut.wait_for(|cut| *cut) => {}
    }
}

/// Every link between two nodes, by who connects and to whom, and those of the clients by node (from 0).
struct Net(BTreeMap<(u8, u8), Vec<Link>>);

impl Net {
    async fn before(cluster: &mut Cluster) -> Self {
        let mut net = BTreeMap::new();
        for to in Cluster::NODES {
            let mut wanted = vec![(0, "SHOP".to_owned())];
            for from in Cluster::NODES.into_iter().filter(|&from| from != to) {
                wanted.push((from, Cluster::replication(from)));
                wanted.push((from, Cluster::quorum(from)));
            }
            for (from, listener) in wanted {
                let link = Link::to(cluster.port(&listener, to)).await;
                cluster.advertise(&listener, to, link.port);
                net.entry((from, to)).or_insert_with(Vec::new).push(link);
            }
        }
        Self(net)
    }

    /// A link between two nodes that carries no replication although there is some.
    fn unused(&self, leaders: &BTreeSet<u8>) -> Option<&(u8, u8)> {
        let used = |links: &[Link]| links[0].connections.load(Ordering::Relaxed) > 0;
        let mut links = self.0.iter().filter(|((from, to), _)| *from != 0 && leaders.contains(to));
        links.find(|(_, links)| !used(links)).map(|(link, _)| link)
    }

    /// Cuts or heals the links that are meant.
    fn cut(&self, which: impl Fn(u8, u8) -> bool, cut: bool) {
        for (_, links) in self.0.iter().filter(|((from, to), _)| which(*from, *to)) {
            links.iter().for_each(|link| _ = link.cut.send_replace(cut));
        }
    }
}

fn answer(servers: &str, patience: Duration) -> KafkaResult<Metadata> {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", servers).create().expect("a client");
    client.fetch_metadata(None, patience)
}

/// Who leads a partition of the topic. Followers fetch from them: each over its proxy.
fn leaders(cluster: &Cluster) -> BTreeSet<u8> {
    let metadata = answer(&cluster.direct(), LONG).expect("metadata");
    let topic = metadata.topics().iter().find(|topic| topic.name() == TOPIC).expect("the topic");
    topic.partitions().iter().filter_map(|partition| u8::try_from(partition.leader()).ok()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_links_falls_out_of_sync_and_comes_back() {
    let options = ClusterOptions::new(folder("links")).listener("SHOP");
    let mut cluster = Cluster::prepare(options).await.expect("prepared").remove_on_drop();
    let net = Net::before(&mut cluster).await;
    cluster.start().await.expect("starts");
    cluster.create_topic(TOPIC, 3).await.expect("a topic");
    cluster.wait_in_sync(LONG).await.expect("in sync");
    let end = Instant::now() + LONG;
    while let Some(link) = net.unused(&leaders(&cluster)) {
        assert!(Instant::now() < end, "{link:?} has a way round its proxy");
    }
    let shop = producer(&cluster, LONG);
    let mut told = Told::default();
    assert_eq!(told.send(&shop, "whole").await, 50);

    // The clients' link, too: a leader that is cut off but reached would keep them waiting for half a minute.
    net.cut(|from, to| from == 3 || to == 3, true);
    let end = Instant::now() + LONG;
    loop {
        let lacking = cluster.wait_in_sync(Duration::ZERO).await.err().map(|error| error.to_string());
        if lacking.is_some_and(|text| text.contains("orders/0 has")) {
            break;
        }
        assert!(Instant::now() < end, "a node that nobody reaches stays in sync");
    }
    assert_eq!(told.send(&shop, "two of three").await, 50);
    net.cut(|from, to| from == 3 || to == 3, false);
    cluster.wait_in_sync(LONG).await.expect("in sync again");

    net.cut(|from, _| from == 0, true);
    let blind = answer(&cluster.bootstrap("SHOP"), Duration::from_secs(2));
    assert!(blind.is_err(), "clients have a way round their proxies");
    answer(&cluster.direct(), LONG).expect("tools need no proxy");
    net.cut(|from, _| from == 0, false);
    assert_eq!(told.send(&shop, "healed").await, 50);
}
