//! Messages as JSON, with the contracts' own field names: `order_id`, numbers as numbers, `ORDER_STATUS_COMPLETED`.

use std::sync::LazyLock;

use prost_reflect::{
    DescriptorPool, DynamicMessage, ReflectMessage as _, SerializeOptions, Value as reflect,
};
use prost_types::Any;
use serde_json::{Value, json};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(skald_proto::DESCRIPTORS).expect("the build wrote a complete descriptor set")
});

/// Of bytes that nobody can read so many are shown.
const SHOWN: usize = 32;

/// A message of the contracts. Fields without a value are there too, so that `jq` finds them.
pub fn message<M: prost::Message + prost::Name>(message: &M) -> Value {
    named(&M::full_name(), &message.encode_to_vec()).unwrap_or_else(|error| json!({ "error": error }))
}

/// What is inside an `Any`, with `@type`; what can't be read is told by its type, its size and how it begins.
pub fn any(any: &Any) -> Value {
    match named(type_name(any), &any.value) {
        Ok(mut shown) if shown.is_object() => {
            shown["@type"] = any.type_url.clone().into();
            shown
        }
        Ok(shown) => json!({ "@type": any.type_url, "value": shown }),
        Err(_) => json!({ "@type": any.type_url, "bytes": any.value.len(), "hex": hex(&any.value) }),
    }
}

/// What is inside an `Any`, for eyes: its type's name, and what has a value.
pub fn brief(any: &Any) -> (String, String) {
    let name = type_name(any);
    let text = match decoded(name, &any.value) {
        Ok(message) => shown(&message, true).to_string(),
        Err(_) if any.value.is_empty() => "empty".to_owned(),
        Err(_) => format!("{} bytes that can't be read here: {}", any.value.len(), hex(&any.value)),
    };
    (name.to_owned(), text)
}

/// A message by its full name, when the contracts know it and it is one.
///
/// # Errors
/// What is wrong.
pub fn named(name: &str, bytes: &[u8]) -> Result<Value, String> {
    decoded(name, bytes).map(|message| shown(&message, false))
}

fn type_name(any: &Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or_default()
}

/// How bytes begin, in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().take(SHOWN).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    if bytes.len() > SHOWN { digits + "…" } else { digits }
}

fn decoded(name: &str, bytes: &[u8]) -> Result<DynamicMessage, String> {
    let descriptor = POOL.get_message_by_name(name).ok_or_else(|| format!("{name} is in no contract"))?;
    DynamicMessage::decode(descriptor, bytes).map_err(|error| error.to_string())
}

/// As the contracts' JSON, but an `Any` that can't be read takes nothing else with it.
fn shown(message: &DynamicMessage, brief: bool) -> Value {
    let descriptor = message.descriptor();
    match descriptor.full_name() {
        "google.protobuf.Any" => return message.transcode_to().map_or(Value::Null, |inner| any(&inner)),
        // A time is a text.
        name if name.starts_with("google.protobuf.") => return plain(message, brief),
        _ => {}
    }
    let mut rest = message.clone();
    let mut nested = Vec::new();
    for (field, value) in message.fields() {
        let value = match value {
            reflect::Message(inner) => shown(inner, brief),
            reflect::List(all) if matches!(all.first(), Some(reflect::Message(_))) => {
                all.iter().filter_map(reflect::as_message).map(|inner| shown(inner, brief)).collect()
            }
            _ => continue,
        };
        nested.push((field, value));
    }
    nested.iter().for_each(|(field, _)| rest.clear_field(field));
    let mut out = plain(&rest, brief);
    for (field, value) in nested {
        out[field.name()] = value;
    }
    out
}

fn plain(message: &DynamicMessage, brief: bool) -> Value {
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .use_proto_field_name(true)
        .skip_default_fields(brief);
    let shown = message.serialize_with_options(serde_json::value::Serializer, &options);
    shown.unwrap_or_else(|error| json!({ "error": error.to_string() }))
}

/// Reads a message from JSON, in the contracts' names or in camel case.
///
/// # Errors
/// What is wrong, with line and column.
pub fn read<M: prost::Message + prost::Name + Default>(text: &str) -> Result<M, String> {
    let descriptor = POOL
        .get_message_by_name(&M::full_name())
        .ok_or_else(|| format!("{} is in no contract", M::full_name()))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let message = DynamicMessage::deserialize(descriptor, &mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    message.transcode_to().map_err(|error| error.to_string())
}

/// Reads any message of the contracts from JSON that says its `@type`.
///
/// # Errors
/// What is wrong.
pub fn read_any(text: &str) -> Result<Any, String> {
    let mut value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let object = value.as_object_mut().ok_or("must be an object with an @type")?;
    let named = object.remove("@type").and_then(|name| name.as_str().map(str::to_owned));
    let named = named.ok_or("must have an @type, such as skald.inventory.v1.Reserved")?;
    let name = named.rsplit('/').next().unwrap_or_default();
    let descriptor = POOL.get_message_by_name(name).ok_or_else(|| format!("{name} is in no contract"))?;
    let message = DynamicMessage::deserialize(descriptor, value).map_err(|error| error.to_string())?;
    let value = prost::Message::encode_to_vec(&message);
    Ok(Any { type_url: format!("type.googleapis.com/{name}"), value })
}
