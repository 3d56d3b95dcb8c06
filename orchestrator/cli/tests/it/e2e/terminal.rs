//! A shell in which the commands of the documents reach a world's services: `skald` and `grpcurl` on the PATH, every address in the
//! variables that `--help` names.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::world::{Kind, World};
use crate::commands::ended;

/// Where a person sits.
pub(crate) struct Terminal {
    variables: Vec<(String, String)>,
}

/// This checkout.
pub(crate) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a crate of the workspace").to_owned()
}

impl Terminal {
    /// In front of this world, as Ada.
    pub(crate) fn new(world: &World) -> Terminal {
        let address = |kind: Kind| world.service(kind, 0).address();
        let mut terminal = Terminal::bare();
        let mut set = |name: &str, value: String| terminal.variables.push((name.into(), value));
        set("SKALD", address(Kind::Orchestrator));
        set("INVENTORY", address(Kind::Inventory));
        set("PAYMENT", address(Kind::Payment));
        set("SKALD_SERVER", address(Kind::Orchestrator));
        set("SKALD_INVENTORY_SERVER", address(Kind::Inventory));
        set("SKALD_PAYMENT_SERVER", address(Kind::Payment));
        set("SKALD_KAFKA__BOOTSTRAP_SERVERS", world.brokers.clone());
        set("SKALD_KAFKA__TOPIC_PREFIX", world.prefix.clone());
        for kind in Kind::ALL {
            set(&format!("SKALD_AUDIT_{}", kind.name().to_uppercase()), world.url(kind).to_owned());
        }
        terminal
    }

    /// In front of nothing.
    pub(crate) fn bare() -> Terminal {
        let skald = Path::new(env!("CARGO_BIN_EXE_skald")).parent().expect("a folder");
        let inherited = std::env::var("PATH").unwrap_or_default();
        // Where ./dev puts a grpcurl when there is none.
        let path = format!("{}:{inherited}:{}", skald.display(), checkout().join(".ci/tools").display());
        Terminal { variables: vec![("PATH".into(), path), ("USER".into(), "ada".into())] }
    }

    /// Sets a variable.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Terminal {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Lets bash run this, in the checkout; how it ended, and all that it said.
    pub(crate) fn run(&self, script: &str) -> (i32, String) {
        let mut bash = Command::new("bash");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SKALD_")) {
            bash.env_remove(name);
        }
        bash.envs(self.variables.iter().map(|(name, value)| (name, value))).current_dir(checkout());
        let (code, out, err) =
            ended(&bash.args(["-euo", "pipefail", "-c", script]).output().expect("bash runs"));
        assert!(
            !err.contains("grpcurl: command not found"),
            "grpcurl is missing: ./dev test puts one into .ci/tools"
        );
        (code, out + &err)
    }

    /// The same for what must work.
    #[track_caller]
    pub(crate) fn works(&self, script: &str) -> String {
        let (code, said) = self.run(script);
        assert_eq!(code, 0, "{script}\n{said}");
        said
    }
}
