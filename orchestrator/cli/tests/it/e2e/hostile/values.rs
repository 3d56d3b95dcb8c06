//! What messages are filled with: values that fit, by the field's name, and hostile ones, by its type. What fits is learned from
//! answers: ids, page tokens, hashes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, ReflectMessage as _, Value,
};
use uuid::Uuid;

/// Strings of one field that are kept.
const KEPT: usize = 64;
/// How deep messages are nested.
const DEPTH: usize = 6;

/// splitmix64: the same seed gives the same messages.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// Strings and numbers that answers had, by their field's name.
#[derive(Clone, Debug, Default)]
pub(super) struct Learned {
    texts: Known<String>,
    numbers: Known<i64>,
}

type Known<T> = Arc<Mutex<BTreeMap<String, Vec<T>>>>;

/// What a request calls otherwise than the answers do.
fn alias(field: &str) -> &str {
    match field {
        "expected_version" => "version",
        _ => field.trim_start_matches("next_"),
    }
}

fn keep<T: PartialEq>(known: &Known<T>, field: &str, one: T) {
    let mut all = known.lock().expect("no panic");
    let known = all.entry(alias(field).to_owned()).or_default();
    if !known.contains(&one) {
        if known.len() >= KEPT {
            known.remove(0);
        }
        known.push(one);
    }
}

fn one<T: Clone>(known: &Known<T>, field: &str, random: &mut Random) -> Option<T> {
    known.lock().expect("no panic").get(alias(field)).map(|known| random.pick(known))
}

impl Learned {
    pub(super) fn note(&self, field: &str, text: &str) {
        if !text.is_empty() && text.len() <= 200 {
            keep(&self.texts, field, text.to_owned());
        }
    }

    /// Everything of an answer.
    pub(super) fn answer(&self, message: &DynamicMessage) {
        for (field, value) in message.fields() {
            self.value(field.name(), value);
        }
    }

    fn value(&self, field: &str, value: &Value) {
        match value {
            Value::String(text) => self.note(field, text),
            Value::I32(number) => keep(&self.numbers, field, i64::from(*number)),
            Value::U32(number) => keep(&self.numbers, field, i64::from(*number)),
            Value::I64(number) => keep(&self.numbers, field, *number),
            Value::Message(message) => self.answer(message),
            Value::List(list) => list.iter().take(5).for_each(|one| self.value(field, one)),
            _ => {}
        }
    }
}

/// A request of this call. Who commands participants makes up sagas of his own: those of real orders are the orchestrator's.
pub(super) fn message(method: &MethodDescriptor, random: &mut Random, learned: &Learned) -> DynamicMessage {
    let hostile = random.pick(&[0, 3, 3, 10, 10, 30, 60, 100]);
    let strangers = method.parent_service().name() == "ParticipantService";
    let extreme = random.pick(&[None, Some(i64::MIN), Some(i64::MAX)]).filter(|_| hostile >= 60);
    Filler { random, learned, hostile, extreme, strangers }.message(&method.input(), 0)
}

struct Filler<'a> {
    random: &'a mut Random,
    learned: &'a Learned,
    /// Percent of the values.
    hostile: usize,
    /// Every hostile integer is this one: what adds them up, or multiplies them, must stand it.
    extreme: Option<i64>,
    strangers: bool,
}

impl Filler<'_> {
    fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        if descriptor.full_name() == "google.protobuf.Any" {
            self.any(&mut message);
            return message;
        }
        for field in descriptor.fields() {
            // Of a choice one, or none.
            let choice = field.containing_oneof().map_or(1, |oneof| oneof.fields().len());
            let left_out = if depth >= DEPTH {
                100
            } else if choice > 1 {
                100 - 90 / choice
            } else {
                10
            };
            if !self.random.percent(left_out) {
                let value = self.field(&field, depth);
                message.set_field(&field, value);
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        if field.is_map() {
            return Value::Map(Default::default());
        }
        if !field.is_list() {
            return self.value(field, depth);
        }
        let many = self.random.percent(self.hostile / 4);
        let n = if many { self.random.pick(&[101, 1001, 5000]) } else { self.random.below(4) };
        let small = !matches!(field.kind(), Kind::Message(_)) || n < 1000;
        Value::List(
            (0..if small { n } else { 1001 })
                .map(|_| self.value(field, depth + if many { 3 } else { 0 }))
                .collect(),
        )
    }

    fn value(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        let hostile = self.random.percent(self.hostile);
        match field.kind() {
            Kind::Message(descriptor) => Value::Message(self.message(&descriptor, depth + 1)),
            Kind::Bool => Value::Bool(self.random.percent(50)),
            Kind::String if hostile => Value::String(self.hostile_text()),
            Kind::String => Value::String(self.text(field.name())),
            Kind::Bytes => Value::Bytes(self.bytes().into()),
            Kind::Enum(of) if !hostile => {
                let known: Vec<i32> = of.values().map(|value| value.number()).collect();
                Value::EnumNumber(self.random.pick(&known))
            }
            Kind::Enum(_) => Value::EnumNumber(self.random.pick(&[0, -1, 99, i32::MAX, i32::MIN])),
            Kind::Double => Value::F64(self.double(hostile)),
            Kind::Float => Value::F32(self.double(hostile) as f32),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                Value::I32(self.integer(field.name(), hostile) as i32)
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.integer(field.name(), hostile)),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.integer(field.name(), hostile) as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.integer(field.name(), hostile) as u64),
        }
    }

    fn integer(&mut self, name: &str, hostile: bool) -> i64 {
        const EXTREMES: &[i64] = &[
            -1,
            i64::MAX,
            i64::MIN,
            i32::MAX as i64,
            i32::MIN as i64,
            i32::MAX as i64 + 1,
            65_536,
            1 << 40,
            -(1 << 40),
            1_000_001,
            253_402_300_800,
            -62_135_596_801,
            315_576_000_001,
            1_000_000_000,
            999_999_999,
            i64::MAX / 1000,
            i64::MIN / 1000 - 1,
        ];
        if hostile {
            return self.extreme.unwrap_or_else(|| self.random.pick(EXTREMES));
        }
        let learned = one(&self.learned.numbers, name, self.random).filter(|_| self.random.percent(60));
        learned.unwrap_or_else(|| self.random.pick(&[0, 1, 1, 2, 3, 4, 5, 7, 50, 100, 500, 1000]))
    }

    fn double(&mut self, hostile: bool) -> f64 {
        match hostile {
            true => self.random.pick(&[
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                -1.0,
                -0.0,
                f64::MAX,
                f64::MIN_POSITIVE,
            ]),
            false => self.random.pick(&[0.0, 0.5, 1.0, 10.0, 1000.0]),
        }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.random.pick(&[0, 1, 7, 16, 32, 33, 300]);
        (0..length).map(|_| self.random.next() as u8).collect()
    }

    /// A type that is known or is not, and bytes that are of it or are not.
    fn any(&mut self, any: &mut DynamicMessage) {
        let types = [
            "type.googleapis.com/skald.order.v1.OrderInput",
            "t/skald.order.v1.PaymentMethod",
            "t/skald.inventory.v1.Reserved",
            "",
            "skald.order.v1.OrderInput",
            "/",
            "t/no.such.Type",
            "t/google.protobuf.Any",
        ];
        let url = if self.random.percent(self.hostile) {
            self.hostile_text()
        } else {
            self.random.pick(&types).to_owned()
        };
        let value = if self.random.percent(50) { Vec::new() } else { self.bytes() };
        any.set_field_by_name("type_url", Value::String(url));
        any.set_field_by_name("value", Value::Bytes(value.into()));
    }

    /// What fits a field of this name.
    fn text(&mut self, name: &str) -> String {
        let own = |random: &mut Random| {
            Uuid::from_u128((u128::from(random.next()) << 64) | u128::from(random.next()))
        };
        match name {
            "saga_id" if self.strangers => Uuid::now_v7().to_string(),
            "request_id" | "idempotency_key" | "client_ref" if !self.random.percent(10) => {
                own(self.random).to_string()
            }
            "page_token" if self.random.percent(70) => String::new(),
            "actor" | "reason" | "note" | "evidence" | "customer_id" => {
                self.random.pick(&["op", "because", "customer"]).to_owned()
            }
            "sku" => self.random.pick(&["TEA", "POT", "RARE", "LAST", "NONE"]).to_owned(),
            "currency" => "EUR".to_owned(),
            "participant" | "parked_participant" => self.random.pick(&["inventory", "payment"]).to_owned(),
            "definition" => "order".to_owned(),
            "step" | "parked_step" => {
                self.random.pick(&["reserve", "pay", "charge", "fulfil", "commit"]).to_owned()
            }
            "action" => self.random.pick(&["reserve", "release", "charge", "refund", "commit"]).to_owned(),
            "payment_token" | "token" => self.random.pick(&["tok_ok", "tok_declined", "tok_slow"]).to_owned(),
            _ => match one(&self.learned.texts, name, self.random) {
                Some(known) => known,
                None => self.random.pick(&["", "order", "pay", "fulfil", "x", "1"]).to_owned(),
            },
        }
    }

    fn hostile_text(&mut self) -> String {
        let saga = Uuid::now_v7();
        let random = &mut *self.random;
        match random.below(24) {
            0 => String::new(),
            1 => "\0".to_owned(),
            2 => "a\0b".to_owned(),
            3 => format!("{saga}\0"),
            4 => "\u{1}\u{1f}\u{7f}\r\n".to_owned(),
            5 => "\u{202e}\u{feff}\u{10ffff}🫖".to_owned(),
            6 => "x".repeat(random.pick(&[65, 129, 513, 1001, 5000])),
            7 => "\u{1}".repeat(random.pick(&[129, 5000, 20_000])),
            8 => "é".repeat(random.pick(&[129, 8000, 100_000])),
            9 => saga.to_string(),
            10 => saga.simple().to_string(),
            11 => saga.to_string().to_uppercase(),
            12 => Uuid::nil().to_string(),
            13 => Uuid::max().to_string(),
            14 => saga.to_string()[..random.below(36)].to_owned(),
            15 => format!("{saga}/charge/1"),
            16 => format!("{saga}/cha\0rge/{}", random.pick(&["1", "-1", "2147483648", "x"])),
            17 => "-9223372036854775808".to_owned(),
            18 => "99999999999999999999999999".to_owned(),
            19 => "f".repeat(random.pick(&[63, 64, 65])),
            20 => "'; drop table saga; --".to_owned(),
            21 => "%s%n{}\\x00\\".to_owned(),
            22 => "2026-01-01T00:00:00Z|0".to_owned(),
            _ => format!("{}:{saga}:QUARANTINED", random.next() as i64),
        }
    }
}

/// What was sent, for whoever must look: long texts are cut.
pub(super) fn shown(message: &DynamicMessage) -> String {
    let json = serde_json::to_string(message).unwrap_or_else(|error| error.to_string());
    format!("{} {json}", message.descriptor().name()).chars().take(1500).collect()
}
