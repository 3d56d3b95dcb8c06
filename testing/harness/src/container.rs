//! Shared servers in containers: where an engine of this machine answers soon, and has the images or can
//! pull them. A container ends with this process, even when that one is killed: it watches a stream that
//! only this process holds open.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::StreamExt;
use skald_local::{await_kafka, free_port, kafka_settings};
use sqlx::{Connection, PgConnection};
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::exec::{CreateExecOptions, StartExecResults};
use testcontainers::bollard::query_parameters::CreateImageOptionsBuilder;
use testcontainers::core::IntoContainerPort;
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};

/// Which images; the script that makes stand-ins for them reads it, too.
const NAMES: &str = include_str!("../../../deploy/images/names");
/// How long the engine may take for an answer: one that hangs must not hold up the tests.
const ANSWER: Duration = Duration::from_secs(3);
/// How long a pull may be silent.
const PULL_SILENT: Duration = Duration::from_secs(15);
/// How long a pull may take.
const PULL: Duration = Duration::from_secs(300);
/// From the start of a container to its server's first answer.
const READY: Duration = Duration::from_secs(60);
/// Where a broker listens for itself as a controller, in its container.
const CONTROLLER: u16 = 9093;

/// The first process: runs the server, and ends when that one ends or when nobody holds the container after
/// a minute. `-1` is every process but the first.
const FIRST: &str = r#"(sleep 60; [ -e /tmp/held ] || kill -s KILL -- -1) & "$@" & wait $!"#;
/// Ends the server, and with it the container, when the input ends: when the process that holds it is gone.
const HOLD: &str = "touch /tmp/held; cat >/dev/null; kill -s KILL -- -1";

/// A container. It ends when this is dropped or this process ends, and is then removed.
pub(crate) struct Running {
    /// Never written to: that it ends is the message.
    _hold: Pin<Box<dyn tokio::io::AsyncWrite + Send>>,
    _container: ContainerAsync<GenericImage>,
}

/// A PostgreSQL without passwords, at the address of its server.
pub(crate) async fn postgres() -> Result<(String, Running), String> {
    let image = Image::of("POSTGRES_IMAGE", "SKALD_POSTGRES_IMAGE");
    let port = free_port().map_err(text)?;
    let trust = [("POSTGRES_HOST_AUTH_METHOD".to_owned(), "trust".to_owned())];
    let running = start(&image, port, 5432, &trust, &["-c", "max_connections=400"]).await?;
    let address = format!("postgres://postgres@127.0.0.1:{port}");
    let end = Instant::now() + READY;
    loop {
        // The port's proxy takes connections before there is a server behind it: only an answer counts.
        let connected = within(ANSWER, PgConnection::connect(&format!("{address}/postgres"))).await;
        match connected {
            Ok(connection) => {
                connection.close().await.map_err(text)?;
                return Ok((address, running));
            }
            Err(why) if Instant::now() >= end => {
                return Err(format!("{} does not answer: {why}", image.full()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A Kafka with the settings of a native one, at its bootstrap address.
pub(crate) async fn kafka() -> Result<(String, Running), String> {
    let image = Image::of("KAFKA_IMAGE", "SKALD_KAFKA_IMAGE");
    let port = free_port().map_err(text)?;
    let mut env: Vec<(String, String)> =
        kafka_settings(port, CONTROLLER).into_iter().map(|(name, value)| (variable(&name), value)).collect();
    env.push(("KAFKA_HEAP_OPTS".into(), "-Xms64m -Xmx256m".into()));
    let running = start(&image, port, port, &env, &[]).await?;
    let address = format!("127.0.0.1:{port}");
    await_kafka(&address, READY).await.map_err(text)?;
    Ok((address, running))
}

/// The variable by which Kafka's image takes a setting.
fn variable(setting: &str) -> String {
    let name = setting.replace('_', "__").replace('-', "___").replace('.', "_");
    format!("KAFKA_{}", name.to_uppercase())
}

/// An image by name and tag.
#[derive(Debug, PartialEq, Eq)]
struct Image {
    name: String,
    tag: String,
}

impl Image {
    /// That of the variable, else that of the list.
    fn of(entry: &str, variable: &str) -> Self {
        let listed = || {
            let line = NAMES.lines().find_map(|line| line.strip_prefix(entry)?.strip_prefix('='));
            line.expect("every image is listed").to_owned()
        };
        Self::read(&std::env::var(variable).unwrap_or_else(|_| listed()))
    }

    fn read(full: &str) -> Self {
        // A colon before a slash belongs to a registry's address.
        match full.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => Self { name: name.into(), tag: tag.into() },
            _ => Self { name: full.into(), tag: "latest".into() },
        }
    }

    fn full(&self) -> String {
        format!("{}:{}", self.name, self.tag)
    }
}

/// Starts a container whose port `inside` is reached at `port` of 127.0.0.1.
async fn start(
    image: &Image,
    port: u16,
    inside: u16,
    env: &[(String, String)],
    arguments: &[&str],
) -> Result<Running, String> {
    let docker = engine().await?;
    let mut command = vec!["-c".to_owned(), FIRST.to_owned(), "sh".to_owned()];
    command.extend(command_of(&docker, image).await?);
    command.extend(arguments.iter().map(|&argument| argument.to_owned()));
    let mut request: ContainerRequest<GenericImage> = GenericImage::new(&image.name, &image.tag)
        .with_entrypoint("sh")
        .with_cmd(command)
        .with_mapped_port(port, inside.tcp())
        .with_startup_timeout(READY)
        .with_host_config_modifier(|host| {
            host.auto_remove = Some(true);
            // Servers without passwords are nobody else's business.
            for binding in host.port_bindings.iter_mut().flatten().filter_map(|(_, to)| to.as_mut()).flatten()
            {
                binding.host_ip = Some("127.0.0.1".into());
            }
        });
    for (name, value) in env {
        request = request.with_env_var(name, value);
    }
    let container = within(READY, request.start()).await?;
    let hold = hold(&docker, container.id()).await?;
    Ok(Running { _hold: hold, _container: container })
}

/// The engine, if it answers.
async fn engine() -> Result<Docker, String> {
    local(std::env::var("DOCKER_HOST").ok().as_deref())?;
    let docker = within(ANSWER, docker_client_instance()).await?;
    within(ANSWER, docker.ping()).await.map_err(|why| format!("no container engine answers: {why}"))?;
    Ok(docker)
}

/// Brokers are told the address at which they are reached: 127.0.0.1, so the engine must be on this machine.
fn local(host: Option<&str>) -> Result<(), String> {
    let Some(host) = host.filter(|host| !host.is_empty()) else { return Ok(()) };
    let (scheme, address) = host.split_once("://").unwrap_or(("", host));
    let name = address.rsplit_once(':').map_or(address, |(name, _)| name);
    match scheme {
        "unix" => Ok(()),
        _ if ["127.0.0.1", "localhost", "[::1]"].contains(&name) => Ok(()),
        _ => Err(format!("the container engine at {host} is not on this machine")),
    }
}

/// What the image runs; it is pulled when the engine does not have it.
async fn command_of(docker: &Docker, image: &Image) -> Result<Vec<String>, String> {
    let full = image.full();
    let asked = tokio::time::timeout(ANSWER, docker.inspect_image(&full)).await.map_err(text)?;
    let found = match asked {
        Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => {
            within(PULL, pull(docker, image))
                .await
                .map_err(|why| format!("{full} cannot be pulled: {why}"))?;
            within(ANSWER, docker.inspect_image(&full)).await?
        }
        other => other.map_err(text)?,
    };
    let config = found.config.unwrap_or_default();
    let command: Vec<String> = [config.entrypoint, config.cmd].into_iter().flatten().flatten().collect();
    if command.is_empty() { Err(format!("{full} says not what it runs")) } else { Ok(command) }
}

async fn pull(docker: &Docker, image: &Image) -> Result<(), String> {
    let options = CreateImageOptionsBuilder::new().from_image(&image.name).tag(&image.tag).build();
    let mut progress = std::pin::pin!(docker.create_image(Some(options), None, None));
    while let Some(step) = tokio::time::timeout(PULL_SILENT, progress.next()).await.map_err(text)? {
        step.map_err(text)?;
    }
    Ok(())
}

/// Binds the container to this process: the engine ends the stream when this end of it is gone.
async fn hold(
    docker: &Docker,
    container: &str,
) -> Result<Pin<Box<dyn tokio::io::AsyncWrite + Send>>, String> {
    let options = CreateExecOptions {
        attach_stdin: Some(true),
        cmd: Some(vec!["sh", "-c", HOLD]),
        ..CreateExecOptions::default()
    };
    let made = within(ANSWER, docker.create_exec(container, options)).await?;
    match within(ANSWER, docker.start_exec(&made.id, None)).await? {
        StartExecResults::Attached { input, .. } => Ok(input),
        StartExecResults::Detached => Err("the engine holds no stream for the container".into()),
    }
}

/// An answer within so long.
async fn within<T, E: Display>(
    limit: Duration,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    let answer = tokio::time::timeout(limit, asked).await;
    answer.map_err(|_| format!("no answer within {} s", limit.as_secs()))?.map_err(text)
}

fn text(error: impl Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::{CONTAINERS, Wish};
    use crate::eventually;

    #[test]
    fn images_are_read_from_their_full_names() {
        let image = |name: &str, tag: &str| Image { name: name.into(), tag: tag.into() };
        assert_eq!(Image::read("postgres:15"), image("postgres", "15"));
        assert_eq!(Image::read("here:5000/apache/kafka"), image("here:5000/apache/kafka", "latest"));
        assert_eq!(Image::of("KAFKA_IMAGE", "SKALD_NOT_SET").name, "apache/kafka");
    }

    #[test]
    fn settings_become_variables_and_only_an_engine_of_this_machine_will_do() {
        assert_eq!(variable("group.min.session-timeout_ms"), "KAFKA_GROUP_MIN_SESSION___TIMEOUT__MS");
        for host in [None, Some(""), Some("unix:///run/docker.sock"), Some("tcp://127.0.0.1:2375")] {
            assert_eq!(local(host), Ok(()), "{host:?}");
        }
        assert!(local(Some("tcp://far.example:2375")).is_err());
    }

    /// Runs where there is an engine with images; `SKALD_TEST_CONTAINERS=1` makes it an error when there is none.
    #[tokio::test]
    async fn servers_in_containers_answer_and_end_with_their_holder() {
        let wish = Wish::read(std::env::var(CONTAINERS).ok().as_deref());
        let (address, postgres) = match postgres().await {
            Ok(started) => started,
            Err(why) => {
                assert_ne!(wish, Wish::Must, "{why}");
                eprintln!("skipped: {why}");
                return;
            }
        };
        let url = format!("{address}/postgres");
        let mut connection = PgConnection::connect(&url).await.expect("connects");
        let limit: String =
            sqlx::query_scalar("SHOW max_connections").fetch_one(&mut connection).await.expect("answers");
        assert_eq!(limit, "400");
        let (_, kafka) = kafka().await.expect("Kafka answers");

        for Running { _hold: hold, _container: container } in [postgres, kafka] {
            assert!(container.is_running().await.expect("told"));
            // As when this process is killed: only the stream ends.
            drop(hold);
            eventually("the container's end", READY, async || match container.is_running().await {
                Ok(true) => Err("it runs"),
                Ok(false) | Err(_) => Ok(()), // removed already
            })
            .await;
        }
        assert!(PgConnection::connect(&url).await.is_err(), "it is gone");
    }
}
