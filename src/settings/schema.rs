//! The JSON schema of a configuration, by which editors complete and check it.

use serde_json::{Value as Json, json};

use super::key::{Key, Preset};

/// A schema that knows every key, its type and its values. What only goes together with other keys is
/// left to the reader, and no key is required, since a configuration can extend another one.
pub fn schema(title: &str, keys: &[Key]) -> Json {
    let mut root = section();
    let about = "A configuration on which this one builds: a file, or one that the program carries";
    root["properties"]["extends"] = json!({"type": "string", "description": about});
    for (place, key) in keys.iter().enumerate() {
        let same = |it: &Key| it.path == key.path && it.schema == key.schema;
        if keys[..place].iter().any(same) {
            continue;
        }
        let mut schema = key.schema.clone();
        schema["description"] = json!(key.summary());
        if let Preset::Value(default) = &key.default {
            schema["default"] = serde_json::to_value(default).unwrap_or_default();
        }
        if let Some(former) = key.former_path() {
            let mut schema = schema.clone();
            schema["deprecated"] = json!(true);
            insert(&mut root, &former, schema);
        }
        insert(&mut root, &key.path, schema);
    }
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!(title);
    root
}

/// Adds a key's schema to the object of its section.
fn insert(root: &mut Json, path: &str, schema: Json) {
    let mut place = root;
    for key in path.split('.') {
        if place.is_null() {
            *place = section();
        }
        place = &mut place["properties"][key];
    }
    *place = match place.take() {
        Json::Null => schema,
        known => json!({"anyOf": [known, schema]}),
    };
}

fn section() -> Json {
    json!({"type": "object", "properties": {}, "additionalProperties": false})
}
