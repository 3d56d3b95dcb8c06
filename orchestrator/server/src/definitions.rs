//! The definitions that this instance knows: the one that ships, those of a folder, and every one that a running
//! saga may still follow.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, RwLock},
};

use anyhow::Context;
use skald_core::Definition;
use sqlx::PgConnection;

use crate::store;

/// Definitions by id, and the newest by name. Ids never change their meaning, so what was read once stays true.
#[derive(Debug, Default)]
pub struct Registry {
    by_id: RwLock<BTreeMap<i32, Arc<Definition>>>,
    offered: BTreeMap<String, i32>,
}

impl Registry {
    /// Registers what ships and what the folder holds, and reads all that the database has.
    ///
    /// # Errors
    /// A file can't be read or breaks a rule (the error names file, step and rule); the database is away.
    pub async fn load(conn: &mut PgConnection, folder: Option<&Path>) -> anyhow::Result<Registry> {
        let mut registry = Registry::default();
        for definition in offered(folder)? {
            let id = store::definition::register(conn, &definition).await?;
            registry.offered.insert(definition.name, id);
        }
        registry.refresh(conn).await?;
        Ok(registry)
    }

    /// Reads what other instances registered meanwhile.
    ///
    /// # Errors
    /// The database is away, or a row can't be read.
    pub async fn refresh(&self, conn: &mut PgConnection) -> anyhow::Result<()> {
        let all = store::definition::all(conn).await?;
        let mut by_id = self.by_id.write().expect("no one panics with this lock");
        *by_id = all.into_iter().map(|(id, definition)| (id, Arc::new(definition))).collect();
        Ok(())
    }

    /// By id.
    pub fn get(&self, id: i32) -> Option<Arc<Definition>> {
        self.by_id.read().expect("no one panics with this lock").get(&id).cloned()
    }

    /// The one that new sagas of this name follow.
    pub fn newest(&self, name: &str) -> Option<(i32, Arc<Definition>)> {
        let id = *self.offered.get(name)?;
        Some((id, self.get(id)?))
    }

    /// Ids of every version of a name.
    pub fn ids(&self, name: &str) -> Vec<i32> {
        let by_id = self.by_id.read().expect("no one panics with this lock");
        by_id.iter().filter(|(_, d)| d.name == name).map(|(id, _)| *id).collect()
    }

    /// Every version of every definition, by id.
    pub fn all(&self) -> Vec<(i32, Arc<Definition>)> {
        let by_id = self.by_id.read().expect("no one panics with this lock");
        by_id.iter().map(|(id, definition)| (*id, Arc::clone(definition))).collect()
    }

    /// The version with this hash.
    pub fn with_hash(&self, hash: &[u8]) -> Option<(i32, Arc<Definition>)> {
        self.all().into_iter().find(|(_, definition)| definition.hash() == hash)
    }

    /// Every participant that a step of any definition names.
    pub fn participants(&self) -> BTreeSet<String> {
        let by_id = self.by_id.read().expect("no one panics with this lock");
        let steps = by_id.values().flat_map(|d| &d.steps).filter(|s| !s.is_signal());
        steps.map(|s| s.participant.clone()).collect()
    }
}

/// What new sagas can follow: the definition that ships, and the folder's.
fn offered(folder: Option<&Path>) -> anyhow::Result<Vec<Definition>> {
    let mut definitions = vec![Definition::order()];
    let Some(folder) = folder else { return Ok(definitions) };
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("definitions.folder {}", folder.display()))?;
    let mut files: Vec<_> = entries.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|f| f.extension().is_some_and(|e| e == "toml"));
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let definition = skald_core::definition::parse(&text).with_context(|| file.display().to_string())?;
        definitions.retain(|known| known.name != definition.name);
        definitions.push(definition);
    }
    Ok(definitions)
}
