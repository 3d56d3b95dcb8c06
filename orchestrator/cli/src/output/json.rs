//! Messages as JSON, with the contracts' own field names: `order_id`, numbers as numbers, `ORDER_STATUS_COMPLETED`.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use prost_types::Any;
use serde_json::{Value, json};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(skald_proto::DESCRIPTORS).expect("the build wrote a complete descriptor set")
});

/// A message of the contracts. Fields without a value are there too, so that `jq` finds them.
pub fn message<M: prost::Message + prost::Name>(message: &M) -> Value {
    encoded(&M::full_name(), &message.encode_to_vec())
}

/// What is inside an `Any`, with `@type`; a type that the contracts do not know is told by its name and size.
pub fn any(any: &Any) -> Value {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    if is_known(any) {
        encoded(name, &any.value)
    } else {
        json!({ "@type": any.type_url, "bytes": any.value.len() })
    }
}

/// The contracts know its type.
pub fn is_known(any: &Any) -> bool {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    POOL.get_message_by_name(name).is_some()
}

fn encoded(name: &str, bytes: &[u8]) -> Value {
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .use_proto_field_name(true)
        .skip_default_fields(false);
    let shown = POOL
        .get_message_by_name(name)
        .ok_or_else(|| format!("{name} is in no contract"))
        .and_then(|descriptor| DynamicMessage::decode(descriptor, bytes).map_err(|error| error.to_string()))
        .and_then(|message| {
            message.serialize_with_options(serde_json::value::Serializer, &options).map_err(|e| e.to_string())
        });
    shown.unwrap_or_else(|error| json!({ "error": error }))
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
