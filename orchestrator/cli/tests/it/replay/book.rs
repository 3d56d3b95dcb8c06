//! Sagas as they stand in a database, made by the core: a small script runs, and its rows are inserted.

use prost::{Message as _, Name as _};
use skald_core::{
    Definition, Effects, Input, State, advance, advance_to,
    archive::{self, End, Header, Item, MAGIC, Recorded, Stored, append},
    definition::parse,
    flight,
    history::{self, Row, digest},
    input::{
        self, Act, Answer, CancelRequested, DeadlineFired, Done, Migrate, No, Operator, Outcome, Payload,
        Request, Signal, Unit, Verb,
    },
    machine::Context,
    state,
};
use skald_proto::order::v1::{OrderInput, OrderLine, PaymentMethod};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// When saga number 0 begins, ms; each next one an hour later.
pub(crate) const T0: i64 = 1_800_000_000_000;
const HOUR: i64 = 3_600_000;

/// The order saga with a piece of its file replaced.
pub(crate) fn order_with(from: &str, to: &str) -> String {
    let order = include_str!("../../../../core/definitions/order.toml");
    assert!(order.contains(from), "{from:?} is in the file");
    order.replacen(from, to, 1)
}

/// A saga under way.
#[derive(Clone)]
pub(crate) struct Saga {
    pub(crate) definition: Definition,
    pub(crate) id: Uuid,
    pub(crate) now: i64,
    pub(crate) state: State,
    pub(crate) request: Vec<u8>,
    pub(crate) rows: Vec<Row>,
}

/// Number `n`, started by Ada with a note.
pub(crate) fn saga(n: u8) -> Saga {
    saga_of(&Definition::order(), u64::from(n))
}

pub(crate) fn saga_of(definition: &Definition, n: u64) -> Saga {
    let now = T0 + n as i64 * HOUR;
    let order = OrderInput {
        customer_id: "ada-lovelace".into(),
        lines: vec![OrderLine {
            sku: "teapot".into(),
            quantity: 1,
            unit_price_minor: 3_900,
            seller_id: "potter".into(),
        }],
        currency: "EUR".into(),
        total_minor: 3_900,
        note: "ring twice at the castle".into(),
        needs_fulfilment: true,
    };
    let input = Some(Payload { type_url: OrderInput::type_url(), value: order.encode_to_vec() });
    let request = Request { input, signals: Vec::new() }.encode_to_vec();
    let id = Uuid::from_u128((now as u128) << 80 | 7 << 76 | 2 << 62 | 1);
    let state = State::new(definition);
    let saga = Saga { definition: definition.clone(), id, now, state, request, rows: Vec::new() };
    let started = Input::Started(history::started(&saga.request).expect("a request"));
    saga.input(&started)
}

impl Saga {
    pub(crate) fn input(mut self, input: &Input) -> Saga {
        let cx = Context { saga: self.id, definition: &self.definition, now: self.now };
        let effects = advance(cx, &mut self.state, input).expect("accepted");
        self.row(input, &effects)
    }

    /// Goes on under another definition.
    pub(crate) fn moved_to(mut self, to: &Definition) -> Saga {
        let migrate = Migrate { from: self.definition.hash().into(), to: to.hash().into() };
        let input = Input::Operator(Operator {
            request_id: "r".into(),
            expected_version: self.state.version,
            reason: "ada-lovelace asked".into(),
            act: Some(Act::Migrate(migrate)),
        });
        let cx = Context { saga: self.id, definition: &self.definition, now: self.now };
        let effects = advance_to(cx, Some(to), &mut self.state, &input).expect("it can follow");
        self.definition = to.clone();
        self.row(&input, &effects)
    }

    fn row(mut self, input: &Input, effects: &Effects) -> Saga {
        self.rows.push(Row {
            seq: self.state.version,
            at: self.state.now,
            rules: skald_core::RULES,
            kind: input.kind(),
            actor: "clerk-babbage".into(),
            input: input::encode(input),
            digest: digest(&state::encode(&self.state), effects),
        });
        self
    }

    pub(crate) fn after(mut self, ms: i64) -> Saga {
        self.now += ms;
        self
    }

    fn answer(self, step: &str, verb: Verb, answer: Answer) -> Saga {
        let (step, answer) = (step.into(), Some(answer));
        self.input(&Input::Outcome(Outcome { step, verb: verb as i32, epoch: 1, attempt: 1, answer }))
    }

    pub(crate) fn succeeded(self, step: &str) -> Saga {
        let value = format!("result of {step} for ada-lovelace").into_bytes();
        let result = Some(Payload { type_url: "test/Result".into(), value });
        self.answer(step, Verb::Run, Answer::Succeeded(Done { result }))
    }

    pub(crate) fn rejected(self, step: &str, code: &str) -> Saga {
        let message = "ada-lovelace has no money".into();
        self.answer(step, Verb::Run, Answer::Rejected(No { code: code.into(), message, detail: None }))
    }

    pub(crate) fn undone(self, step: &str) -> Saga {
        self.answer(step, Verb::Undo, Answer::Undone(Done { result: None }))
    }

    pub(crate) fn nothing_to_undo(self, step: &str) -> Saga {
        self.answer(step, Verb::Undo, Answer::NothingToUndo(Unit {}))
    }

    /// As without a payment id: the token is the id.
    pub(crate) fn paid(self) -> Saga {
        let token = "tok_castle_4242".to_owned();
        let value = PaymentMethod { token: token.clone() }.encode_to_vec();
        let payload = Some(Payload { type_url: PaymentMethod::type_url(), value });
        self.input(&Input::Signal(Signal { name: "pay".into(), signal_id: token, payload }))
    }

    pub(crate) fn fulfilled(self) -> Saga {
        self.input(&Input::Signal(Signal { name: "fulfil".into(), signal_id: "f".into(), payload: None }))
    }

    pub(crate) fn cancelled(self) -> Saga {
        self.input(&Input::CancelRequested(CancelRequested { note: "the castle is sold".into() }))
    }

    /// The next deadline comes and fires.
    pub(crate) fn fired(mut self) -> Saga {
        self.now = flight::next_deadline(&self.definition, &self.state).expect("a deadline");
        self.input(&Input::DeadlineFired(DeadlineFired {}))
    }

    pub(crate) fn charged(self) -> Saga {
        self.after(10).succeeded("reserve").after(10).paid().after(10).succeeded("charge")
    }

    pub(crate) fn completed(self) -> Saga {
        self.charged().after(10).fulfilled().after(10).succeeded("commit")
    }

    pub(crate) fn recorded(&self, definition: i32) -> Recorded {
        Recorded {
            id: self.id,
            definition,
            version: self.state.version,
            format: skald_core::FORMAT,
            active: !self.state.is_final(),
            request: self.request.clone(),
            state: state::encode(&self.state),
            rows: self.rows.clone(),
        }
    }
}

/// An orchestrator's database.
pub(crate) struct Shelf {
    pub(crate) url: String,
    connection: PgConnection,
}

impl Shelf {
    pub(crate) async fn new() -> Shelf {
        let url = skald_harness::database("replay").await.url;
        skald_server::migrate(&skald_kit::config::Secret::new(&*url)).await.expect("migrated");
        let connection = PgConnection::connect(&url).await.expect("connected");
        Shelf { url, connection }
    }

    pub(crate) async fn with(sagas: &[Saga]) -> Shelf {
        let mut shelf = Shelf::new().await;
        for saga in sagas {
            shelf.insert(saga).await;
        }
        shelf
    }

    pub(crate) async fn definition(&mut self, definition: &Definition) -> i32 {
        skald_server::store::definition::register(&mut self.connection, definition).await.expect("registered")
    }

    pub(crate) async fn insert(&mut self, saga: &Saga) {
        let Recorded { id, definition, version, format, active, request, state, rows } =
            saga.recorded(self.definition(&saga.definition).await);
        sqlx::query(
            "insert into public.saga (id, definition_id, status, stage, version, format, wake_at, owner, customer_id,
                                      updated_at, state, request)
             values ($1, $2, $3, $4, $5, $6, case when $7 then now() end, $1, 'ada-lovelace', now(), $8, $9)",
        )
        .bind(id)
        .bind(definition)
        .bind(saga.state.shown() as i16)
        .bind(saga.state.stage as i16)
        .bind(version as i32)
        .bind(format as i16)
        .bind(active)
        .bind(state)
        .bind(request)
        .execute(&mut self.connection)
        .await
        .expect("inserted");
        for row in rows {
            sqlx::query(
                "insert into public.history (saga_id, seq, at, rules, kind, actor, input, digest)
                 values ($1, $2, to_timestamp($3::bigint / 1000.0), $4, $5, $6, $7, $8)",
            )
            .bind(id)
            .bind(row.seq as i32)
            .bind(row.at)
            .bind(row.rules as i16)
            .bind(row.kind as i16)
            .bind(row.actor)
            .bind(row.input)
            .bind(row.digest)
            .execute(&mut self.connection)
            .await
            .expect("inserted");
        }
    }

    /// Somebody writes by hand.
    pub(crate) async fn by_hand(&mut self, sql: &'static str, id: Uuid, bytes: &[u8]) {
        let touched = sqlx::query(sql).bind(id).bind(bytes).execute(&mut self.connection).await;
        assert_eq!(touched.expect(sql).rows_affected(), 1, "{sql}");
    }

    /// Everything that replay could have changed.
    pub(crate) async fn contents(&mut self) -> String {
        let sql = "select md5(string_agg(s.xmin || ' ' || s::text, '|' order by id))
                          || (select md5(string_agg(h.xmin || ' ' || h::text, '|' order by saga_id, seq))
                                from public.history h)
                     from public.saga s";
        sqlx::query_scalar(sql).fetch_one(&mut self.connection).await.expect("contents")
    }
}

/// A definition's TOML in a file of its own.
pub(crate) fn definition_file(text: &str) -> String {
    parse(text).expect("a sound definition");
    let path = skald_harness::scratch("definition").join("other.toml");
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("a plain path").to_owned()
}

/// A file of `n` completed orders, six rows each, all alike but for their ids: for speed and for its memory.
pub(crate) fn synthetic(n: u64) -> String {
    use std::io::Write as _;
    let definition = Definition::order();
    let path = skald_harness::scratch("synthetic").join("orders.skald");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a file"));
    let mut piece = MAGIC.to_vec();
    append(
        Item::Header(Header { version: archive::VERSION, by: "test".into(), ..Header::default() }),
        &mut piece,
    );
    let (name, hash, body) = (definition.name.clone(), definition.hash().into(), definition.encode_to_vec());
    append(Item::Definition(Stored { id: 1, name, hash, body }), &mut piece);
    let rows = 6 * n;
    for saga in 0..n {
        append(Item::Saga(saga_of(&definition, saga).completed().recorded(1).into()), &mut piece);
        file.write_all(&piece).expect("written");
        piece.clear();
    }
    append(Item::End(End { sagas: n, rows }), &mut piece);
    file.write_all(&piece).and_then(|()| file.flush()).expect("written");
    path.to_str().expect("a plain path").to_owned()
}
