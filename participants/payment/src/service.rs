//! Payment as a participant: loads charges under lock, writes what was decided, calls the gateway outside any transaction.
//! The rules are `domain`'s, what a call means is `calls`'.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use skald_kit::outbox;
use skald_participant::{Action, Breaker, CallResult, Command, Deadline, Intent, Key, Service};
use skald_proto::participant::v1::BreakerState;
use sqlx::PgConnection;

use crate::{
    breaker, calls,
    domain::{CHARGE, Call, Charges, REFUND},
    events::Events,
    gateway::{Gateway, guarded::Guarded},
    store,
};

const ACTIONS: &[Action] = &[Action { name: CHARGE, undo: Some(REFUND) }];

/// The participant `payment`.
#[derive(Debug)]
pub(crate) struct Payment<G> {
    pub(crate) gateway: Guarded<G>,
    events: Events,
}

impl<G> Clone for Payment<G> {
    fn clone(&self) -> Self {
        Self { gateway: self.gateway.clone(), events: self.events.clone() }
    }
}

impl<G: Gateway> Payment<G> {
    /// Moves money through `gateway`; tells what happened through `events`.
    pub(crate) fn new(gateway: Guarded<G>, events: Events) -> Self {
        Self { gateway, events }
    }
}

async fn load(
    connection: &mut PgConnection,
    keys: impl Iterator<Item = Key>,
) -> Result<Charges, sqlx::Error> {
    let keys: Vec<Key> = keys.collect::<BTreeSet<_>>().into_iter().collect();
    Ok(Charges::new(store::lock(connection, &keys).await?))
}

impl<G: Gateway> Service for Payment<G> {
    const NAME: &'static str = "payment";
    type Domain = Charges;

    fn actions(&self) -> &'static [Action] {
        ACTIONS
    }

    async fn load(&self, connection: &mut PgConnection, wave: &[&Command]) -> Result<Charges, sqlx::Error> {
        load(connection, wave.iter().map(|command| command.key())).await
    }

    async fn load_intents(
        &self,
        connection: &mut PgConnection,
        intents: &[Intent],
    ) -> Result<Charges, sqlx::Error> {
        load(connection, intents.iter().map(|intent| intent.key.clone())).await
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        charges: &mut Charges,
    ) -> Result<Vec<outbox::Row>, sqlx::Error> {
        store::insert(connection, &charges.new_ones()).await?;
        store::settle(connection, &charges.changed()).await?;
        Ok(self.events.rows(&charges.told))
    }

    async fn call(&self, intent: &Intent, call: &Call, deadline: Deadline) -> CallResult {
        calls::make(&self.gateway, intent, call, deadline).await
    }

    fn key_lifetime(&self) -> Duration {
        self.gateway.key_lifetime()
    }

    fn breaker(&self) -> Option<Breaker> {
        let (state, ago) = self.gateway.standing();
        let state = match state {
            breaker::State::Closed => BreakerState::Closed,
            breaker::State::Open => BreakerState::Open,
            breaker::State::HalfOpen => BreakerState::HalfOpen,
            breaker::State::Ramp => BreakerState::Ramp,
        };
        Some(Breaker { state, since: SystemTime::now() - ago })
    }
}
